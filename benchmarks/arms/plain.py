"""Arm (a): the script a user would write. Optuna, DataLoader, torchvision transforms, no tuning.

``python plain.py JOB OUT``. As the competition's own baseline it opens photos with Pillow and has cores / 2 workers.
"""

import sys
import time
from pathlib import Path

import optuna
import timm
import torch
from job import Job, report
from PIL import Image
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

JOB, OUT = Job.load(sys.argv[1]), sys.argv[2]
DEVICE = torch.device(JOB.device)
WORKERS = JOB.cores // 2


class MaskDataset(Dataset):
    def __init__(self, samples, transform):
        self.samples, self.transform = samples, transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        image = Image.open(Path(JOB.folder) / path).convert("RGB")
        return self.transform(image), label


def make_transform(augment):
    steps = [transforms.Resize((JOB.image_size, JOB.image_size))]
    if "flip" in augment:
        steps.append(transforms.RandomHorizontalFlip())
    if "contrast" in augment:
        steps.append(transforms.RandomApply([transforms.ColorJitter(contrast=0.5)]))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(JOB.mean, JOB.std)])


def objective(trial):
    lr = trial.suggest_categorical("lr", JOB.lrs)
    torch.manual_seed(JOB.seed)
    train = DataLoader(
        MaskDataset(JOB.train, make_transform(JOB.augment)),
        batch_size=JOB.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        pin_memory=DEVICE.type == "cuda",
    )
    valid = DataLoader(
        MaskDataset(JOB.valid, make_transform([])),
        batch_size=JOB.batch_size,
        num_workers=WORKERS,
        pin_memory=DEVICE.type == "cuda",
    )
    model = timm.create_model(JOB.backbone, **JOB.model_options).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=JOB.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, JOB.lr_factor)
    criterion = torch.nn.CrossEntropyLoss()
    best, train_seconds, valid_seconds = 0.0, 0.0, 0.0
    for epoch in range(JOB.epochs):
        begun = time.perf_counter()
        model.train()
        running_loss = 0.0
        for image, label in train:
            image, label = image.to(DEVICE), label.to(DEVICE)
            optimizer.zero_grad()
            loss = criterion(model(image), label)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running_loss += loss.item()
        train_seconds += time.perf_counter() - begun
        begun = time.perf_counter()
        model.eval()
        predicted, true = [], []
        with torch.no_grad():
            for image, label in valid:
                predicted += model(image.to(DEVICE)).argmax(1).cpu().tolist()
                true += label.tolist()
        score = f1_score(true, predicted, average="macro", labels=range(18), zero_division=0)
        valid_seconds += time.perf_counter() - begun
        trial.report(score, epoch)
        if score > best:
            best = score
            torch.save(model.state_dict(), f"{OUT}.pt")
    FOUND.append({"macro_f1": best, "train_seconds": train_seconds, "valid_seconds": valid_seconds})
    return best


FOUND = []

if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", storage=f"sqlite:///{OUT}.db")
    for lr in JOB.lrs:
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=len(JOB.lrs))
    report(OUT, FOUND)
