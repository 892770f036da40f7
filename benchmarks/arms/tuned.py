"""Arm (b): the same script as an expert would tune it in a day.

``python tuned.py JOB OUT``. Against plain.py: torchvision's decoder, uint8 until the device, v2 transforms, as many
workers as cores that live for the whole study, channels_last, AMP and cudnn.benchmark on a GPU, a fused optimizer, no
reading of the loss in every step, validation in inference mode at four times the batch.
"""

import sys
import time
from pathlib import Path

import optuna
import timm
import torch
from job import Job, report
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

JOB, OUT = Job.load(sys.argv[1]), sys.argv[2]
DEVICE = torch.device(JOB.device)
ON_GPU = DEVICE.type == "cuda"


class MaskDataset(Dataset):
    def __init__(self, samples, augment):
        self.samples = [(str(Path(JOB.folder) / path), label) for path, label in samples]
        steps = [v2.Resize((JOB.image_size, JOB.image_size), antialias=True)]
        if "flip" in augment:
            steps.append(v2.RandomHorizontalFlip())
        if "contrast" in augment:
            steps.append(v2.RandomApply([v2.ColorJitter(contrast=0.5)]))
        self.transform = v2.Compose(steps)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        return self.transform(decode_image(path, mode=ImageReadMode.RGB)), label


def make_loader(samples, augment, batch_size, shuffle):
    return DataLoader(
        MaskDataset(samples, augment),
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=JOB.cores,
        persistent_workers=True,
        prefetch_factor=4,
        pin_memory=ON_GPU,
    )


TRAIN = make_loader(JOB.train, JOB.augment, JOB.batch_size, shuffle=True)
VALID = make_loader(JOB.valid, [], 4 * JOB.batch_size, shuffle=False)
MEAN = torch.tensor(JOB.mean, device=DEVICE).view(1, 3, 1, 1) * 255
STD = torch.tensor(JOB.std, device=DEVICE).view(1, 3, 1, 1) * 255


def to_input(image):
    image = image.to(DEVICE, non_blocking=True).contiguous(memory_format=torch.channels_last)
    return (image.float() - MEAN) / STD


def autocast():
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=ON_GPU)


def train_epoch(model, optimizer, scheduler):
    model.train()
    for image, label in TRAIN:
        with autocast():
            loss = torch.nn.functional.cross_entropy(model(to_input(image)), label.to(DEVICE, non_blocking=True))
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)


def evaluate(model):
    model.eval()
    predicted, true = [], []
    with torch.inference_mode(), autocast():
        for image, label in VALID:
            predicted.append(model(to_input(image)).argmax(1))
            true.append(label)
    predicted, true = torch.cat(predicted).cpu().numpy(), torch.cat(true).numpy()
    return f1_score(true, predicted, average="macro", labels=range(18), zero_division=0)


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
