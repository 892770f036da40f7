"""Arm (b) of outcome.py: an Optuna script as people write it. No project code.

``python study.py JOB HOME`` searches for JOB's seconds and leaves HOME/best.pt and HOME/promised.json;
``python study.py JOB HOME FOLDER OUT`` predicts the photos of FOLDER by that checkpoint, as (path, class) pairs.

The photos lie in folders of classes (train, validation), split by photo. TPE proposes, the MedianPruner stops, the
checkpoint of best_trial is exported and its value is what people report. The last trial may end after the time.
"""

import json
import sys
import time
from pathlib import Path

import optuna
import timm
import torch
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

BEGUN = time.perf_counter()
JOB, HOME = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
DEVICE = torch.device(JOB["device"])
LOCAL = {"pretrained": True, "pretrained_cfg_overlay": {"file": JOB["weight_file"]}} if JOB["weight_file"] else {}


def make_model(drop_rate):
    return timm.create_model(JOB["backbone"], num_classes=len(JOB["classes"]), drop_rate=drop_rate, **LOCAL).to(DEVICE)


def make_loader(folder, augment=(), shuffle=False):
    config = timm.create_model(JOB["backbone"]).pretrained_cfg
    steps = [transforms.Resize((JOB["image_size"], JOB["image_size"]))]
    if "flip" in augment:
        steps.append(transforms.RandomHorizontalFlip())
    if "jitter" in augment:
        steps.append(transforms.ColorJitter(0.3, 0.3, 0.3))
    steps += [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    photos = ImageFolder(folder, transforms.Compose(steps), allow_empty=True)
    assert photos.classes == JOB["classes"]
    workers = {"num_workers": JOB["cores"], "persistent_workers": shuffle, "pin_memory": DEVICE.type == "cuda"}
    return DataLoader(photos, JOB["batch_size"], shuffle=shuffle, drop_last=shuffle, **workers)


def predict(model, loader):
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(image.to(DEVICE)).argmax(1).cpu() for image, _ in loader]).tolist()


def objective(trial):
    lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-4, 0.3, log=True)
    smoothing = trial.suggest_float("label_smoothing", 0.0, 0.2)
    augment = [name for name in ("flip", "jitter") if trial.suggest_categorical(name, [False, True])]
    torch.manual_seed(JOB["seed"])
    model = make_model(trial.suggest_float("drop_rate", 0.0, 0.6))
    train, valid = make_loader(f"{JOB['photos']}/train", augment, True), make_loader(f"{JOB['photos']}/validation")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=JOB["epochs"] * len(train), pct_start=0.1)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    best = 0.0
    for epoch in range(JOB["epochs"]):
        model.train()
        for image, label in train:
            optimizer.zero_grad()
            criterion(model(image.to(DEVICE)), label.to(DEVICE)).backward()
            optimizer.step()
            schedule.step()
        said = predict(model, valid)
        score = f1_score(
            valid.dataset.targets, said, average="macro", labels=range(len(JOB["classes"])), zero_division=0
        )
        if score > best:
            best = score
            torch.save(model.state_dict(), HOME / f"trial-{trial.number}.pt")
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


def search():
    sampler, pruner = optuna.samplers.TPESampler(seed=JOB["seed"]), optuna.pruners.MedianPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(objective, timeout=JOB["seconds"] - (time.perf_counter() - BEGUN))
    (HOME / f"trial-{study.best_trial.number}.pt").rename(HOME / "best.pt")
    (HOME / "promised.json").write_text(json.dumps({"promised": study.best_value, "trials": len(study.trials)}))


def export(folder, out):
    model = make_model(0.0)
    model.load_state_dict(torch.load(HOME / "best.pt", weights_only=True))
    loader = make_loader(folder)
    paths = [path for path, _ in loader.dataset.samples]
    Path(out).write_text(json.dumps(list(zip(paths, predict(model, loader), strict=True))))


if __name__ == "__main__":
    torch.set_num_threads(JOB["cores"])
    search() if len(sys.argv) == 3 else export(*sys.argv[3:])
