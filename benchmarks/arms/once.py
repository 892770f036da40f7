"""Arm "once": tuned.py with every photo decoded and resized once, into memory, and batches by indexing.

``python once.py JOB OUT``. What somebody who sees that decoding is the bottleneck writes instead of a DataLoader. On a
GPU the photos move there. Flip and contrast are drawn for every photo, as the project does.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import timm
import torch
from job import Job, report
from sklearn.metrics import f1_score
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

JOB, OUT = Job.load(sys.argv[1]), sys.argv[2]
DEVICE = torch.device(JOB.device)
ON_GPU = DEVICE.type == "cuda"
RESIZE = v2.Resize((JOB.image_size, JOB.image_size), antialias=True)


def decode(sample):
    return RESIZE(decode_image(str(Path(JOB.folder) / sample[0]), mode=ImageReadMode.RGB))


def load(samples):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(JOB.cores) as pool:
        images = torch.stack(list(pool.map(decode, samples)))
    torch.set_num_threads(threads)
    return images.to(DEVICE), torch.tensor([label for _, label in samples], device=DEVICE)


TRAIN, VALID = load(JOB.train), load(JOB.valid)
MEAN = torch.tensor(JOB.mean, device=DEVICE).view(1, 3, 1, 1)
STD = torch.tensor(JOB.std, device=DEVICE).view(1, 3, 1, 1)


def to_input(image):
    return ((image - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def chosen(image):
    return (torch.rand(len(image), device=DEVICE) < 0.5).view(-1, 1, 1, 1)


def augmented(image):
    if "flip" in JOB.augment:
        image = torch.where(chosen(image), image.flip(3), image)
    if "contrast" in JOB.augment:
        factor = torch.rand(len(image), 1, 1, 1, device=DEVICE) + 0.5
        grey = v2.functional.rgb_to_grayscale(image).mean((2, 3), keepdim=True)
        image = torch.where(chosen(image), (factor * image + (1 - factor) * grey).clamp(0, 1), image)
    return image


def autocast():
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=ON_GPU)


def train_epoch(model, optimizer, scheduler):
    model.train()
    image, label = TRAIN
    order = torch.randperm(len(image), device=DEVICE)
    for step in range(len(image) // JOB.batch_size):
        index = order[step * JOB.batch_size : (step + 1) * JOB.batch_size]
        with autocast():
            output = model(to_input(augmented(image[index].float() / 255)))
            loss = torch.nn.functional.cross_entropy(output, label[index])
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)


def evaluate(model):
    model.eval()
    image, label = VALID
    with torch.inference_mode(), autocast():
        parts = [model(to_input(part.float() / 255)).argmax(1) for part in image.split(4 * JOB.batch_size)]
    predicted = torch.cat(parts).cpu().numpy()
    return f1_score(label.cpu().numpy(), predicted, average="macro", labels=range(18), zero_division=0)


def objective(trial):
    lr = trial.suggest_categorical("lr", JOB.lrs)
    torch.manual_seed(JOB.seed)
    model = timm.create_model(JOB.backbone, **JOB.model_options).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=JOB.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, JOB.lr_factor)
    best, train_seconds, valid_seconds = 0.0, 0.0, 0.0
    for epoch in range(JOB.epochs):
        begun = time.perf_counter()
        train_epoch(model, optimizer, scheduler)
        if ON_GPU:
            torch.cuda.synchronize()
        train_seconds += time.perf_counter() - begun
        begun = time.perf_counter()
        score = evaluate(model)
        valid_seconds += time.perf_counter() - begun
        trial.report(score, epoch)
        if score > best:
            best = score
            torch.save(model.state_dict(), f"{OUT}.pt")
    FOUND.append({"macro_f1": best, "train_seconds": train_seconds, "valid_seconds": valid_seconds})
    return best


FOUND = []

if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    study = optuna.create_study(direction="maximize", storage=f"sqlite:///{OUT}.db")
    for lr in JOB.lrs:
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=len(JOB.lrs))
    report(OUT, FOUND)
