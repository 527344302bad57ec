"""One study from files to report: `fedpet predict` against the least that anybody must do, and a conventional script.

    python -m benchmarks.one_study [--patient FOLDER] [--repeats 5]

The study is the simulated demonstration patient (`fedpet cohort simulate --seed 7`). F, the floor, reads and decodes
both series with pydicom and runs the demonstration model once on ONNX Runtime. The ways take turns, on one thread.

Cold, each in a process of its own, CPU time with its start and its imports, and the peak of its memory: the floor;
`fedpet predict` with and without explanation (the answer, the images and the PDF are written in both); the conventional
script, which reads with MONAI (ITK), brings both series to cubic voxels of 8 mm with MONAI's Spacing, runs an image
network in torch and explains it by Captum's integrated gradients in 50 steps. It finds no lesions, checks nothing and
writes nothing. Warm, in one process after a first pass: floor and `fedpet predict` from files to report, on the files
as they are and compressed with JPEG-LS.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Comparison, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.bundle.storage import Bundle

HERE = Path(__file__)
CONVENTIONAL = "conventional script (MONAI, torch, Captum)"


def series(folder: Path) -> list[list[Path]]:
    """The files of both series by name; the simulator numbers them by slice."""
    return [sorted((folder / modality).iterdir()) for modality in ("CT", "PT")]


def read_floor(folder: Path) -> None:
    """Read and decode every slice into float32 volumes."""
    import numpy as np  # noqa: PLC0415  a cold process pays for what it uses
    import pydicom  # noqa: PLC0415  as above

    for files in series(folder):
        first = pydicom.dcmread(files[0])
        volume = np.empty((len(files), first.Rows, first.Columns), np.float32)
        for k, file in enumerate(files):
            dataset = pydicom.dcmread(file)
            np.multiply(dataset.pixel_array, np.float32(dataset.RescaleSlope), out=volume[k], casting="unsafe")


def floor(folder: Path, model: Path) -> None:
    """F: what nobody can do without."""
    import numpy as np  # noqa: PLC0415  as above
    import onnxruntime  # noqa: PLC0415  as above

    read_floor(folder)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = {one.name: np.zeros([1, *one.shape[1:]], np.float32) for one in session.get_inputs()}
    session.run(None, inputs)


def conventional(folder: Path) -> None:
    """Readers, resampling, a network and its explanation, each by the library that is usually taken."""
    import monai.transforms as mt  # noqa: PLC0415  as above
    import torch  # noqa: PLC0415  as above
    from captum.attr import IntegratedGradients  # noqa: PLC0415  as above

    from inference.input_contract import default_contract  # noqa: PLC0415  as above
    from inference.network import build_network  # noqa: PLC0415  as above

    torch.set_num_threads(1)
    torch.manual_seed(0)
    contract = default_contract()
    read = mt.Compose(
        [
            mt.LoadImage(reader="ITKReader", image_only=True, ensure_channel_first=True),
            mt.Orientation("LPS"),
            mt.Spacing(pixdim=[contract.spacing_mm] * 3, mode="bilinear"),
            mt.ResizeWithPadOrCrop(contract.shape),
        ]
    )
    image = torch.cat([torch.as_tensor(read(folder / name)) for name in ("PT", "CT")]).float()[None]
    clinical = torch.zeros(1, len(contract.inputs))
    network = build_network("evidence", contract).eval()
    explained = IntegratedGradients(lambda seen: network(seen, clinical.expand(len(seen), -1)).score)
    explained.attribute(image, torch.zeros_like(image), n_steps=50, internal_batch_size=1)


def cold(arguments: list[str], home: Path) -> tuple[float, float]:
    """CPU seconds and peak memory (MB) of one process."""
    environment = {**os.environ, "FEDPET_HOME": str(home), "OMP_NUM_THREADS": "1", "FEDPET_THREADS": "1"}
    with subprocess.Popen(  # noqa: S603  this Python
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        words = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(words.decode())
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare_cold(patient: Path, record: Path, model: Path, scratch: Path, repeats: int) -> list[Comparison]:
    """CPU time and memory of fresh processes, in turn."""
    predict = ["-m", "app.cli", "predict", str(patient), "--clinical", str(record)]
    commands = {
        "F: pydicom, one ONNX Runtime pass": [str(HERE), "--way", "floor", str(patient), str(model)],
        "fedpet predict": predict,
        "fedpet predict --no-explain": [*predict, "--no-explain"],
        CONVENTIONAL: [str(HERE), "--way", "conventional", str(patient)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats):
        for number, (name, command) in enumerate(commands.items()):
            out = ["--out", str(scratch / f"{number}-{repeat}")] if "predict" in command else []
            took, peak = cold([*command, *out], scratch / "home")
            seconds[name].append(took)
            memory[name].append(peak)
    first = next(iter(commands))
    return [
        Comparison("one study, cold", "CPU s", first, seconds),
        Comparison("one study, cold, peak memory", "MB", first, memory),
    ]


def compare_warm(folders: dict[str, Path], record: Path, bundle: Bundle, scratch: Path, repeats: int) -> Comparison:
    """CPU time of a process that has everything loaded, in turn."""
    from app.cases.pipeline import CaseOutput, predict_study  # noqa: PLC0415  the cold processes must not load it
    from fedpet.clinical.reading import read_record  # noqa: PLC0415  as above
    from fedpet.core.settings import Settings  # noqa: PLC0415  as above

    settings = Settings(home=scratch / "home", threads=1)
    ways: dict[str, Callable[[Path], object]] = {}
    for name, folder in folders.items():
        ways[f"F, {name}"] = lambda _, folder=folder: floor(folder, bundle.onnx)
        ways[f"fedpet predict, {name}"] = lambda out, folder=folder: predict_study(
            folder, read_record(record), bundle=bundle, out=out, settings=settings, wanted=CaseOutput("en")
        )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for number, (name, way) in enumerate(ways.items()):
            before = time.process_time()
            way(scratch / f"warm-{number}-{repeat}")
            seconds[name].append(time.process_time() - before)
    runs = {name: taken[1:] for name, taken in seconds.items()}  # the first pass warms up
    compared = Comparison("one study, warm, from files to report", "CPU s", f"F, {next(iter(folders))}", runs)
    ratios = (compared.median(f"fedpet predict, {name}") / compared.median(f"F, {name}") for name in folders)
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in zip(folders, ratios, strict=True))
    return Comparison(compared.title, "CPU s", compared.reference, runs, notes=(f"fedpet predict over F: {shown}.",))


def compressed(patient: Path, out: Path) -> Path:
    """The same files in JPEG-LS, without loss."""
    import pydicom  # noqa: PLC0415  the cold processes must not load it
    from pydicom.uid import JPEGLSLossless  # noqa: PLC0415  as above

    for file in (file for files in series(patient) for file in files):
        dataset = pydicom.dcmread(file)
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        place = out / file.relative_to(patient)
        place.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(place)
    return out


def simulated(scratch: Path) -> Path:
    """The demonstration patient."""
    chosen = ("--patients", "1", "--sites", "1", "--seed", "7", "--out", str(scratch / "cohort"))
    cold(["-m", "app.cli", "cohort", "simulate", *chosen], scratch / "home")
    (patient,) = (scratch / "cohort" / "S1" / "dicom").iterdir()
    return patient


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--way"]:
        way, *paths = sys.argv[2:]
        floor(*map(Path, paths)) if way == "floor" else conventional(*map(Path, paths))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--patient", type=Path, help="DICM_FOLDER/CT and /PT, with ../../clinical.csv of one row")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    from inference.bundle.storage import load_model  # noqa: PLC0415  the cold processes must not load it

    bundle = load_model()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        patient = given.patient or simulated(scratch)
        record = patient.parent.parent / "clinical.csv"
        tables = compare_cold(patient, record, bundle.onnx, scratch, given.repeats)
        folders = {"uncompressed": patient, "JPEG-LS": compressed(patient, scratch / "jpegls")}
        report(*tables, compare_warm(folders, record, bundle, scratch, given.repeats))


if __name__ == "__main__":
    main()
