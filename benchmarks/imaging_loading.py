"""CPU time and memory of `imaging.load_study` against reading the same slices with a bare pydicom loop.

Makes a PET/CT study in a temporary folder (CT 300 slices of 512 x 512, PET 300 of 200 x 200), then, for each way,
starts a fresh process that reads it `REPEATS` times; prints the median CPU time, the peak of memory beyond the imports
and the ratios. Run: `python benchmarks/imaging_loading.py [slices]`. Compare ratios, not seconds.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from imaging.loading import load_study
from imaging.resampling import Grid, resample

REPEATS = 5


def write_study(folder: Path, slices: int) -> None:
    """Write a CT and a PET series of noise with the attributes SUV needs."""
    random = np.random.default_rng(0)
    study, frame = generate_uid(), generate_uid()
    for modality, sop_class, matrix in (
        ("CT", CTImageStorage, 512),
        ("PT", PositronEmissionTomographyImageStorage, 200),
    ):
        series = generate_uid()
        for k in range(slices):
            d = Dataset()
            d.SOPClassUID, d.SOPInstanceUID, d.Modality = sop_class, generate_uid(), modality
            d.PatientID, d.PatientWeight, d.StudyInstanceUID = "BENCH", 70, study
            d.SeriesInstanceUID, d.FrameOfReferenceUID = series, frame
            d.StudyDate = d.SeriesDate = d.AcquisitionDate = "20240305"
            d.SeriesTime = d.AcquisitionTime = "100000"
            d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-250, -250, 3 * k]
            d.PixelSpacing = [500 / matrix, 500 / matrix]
            d.Rows = d.Columns = matrix
            d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
            d.BitsAllocated = d.BitsStored = 16
            d.HighBit, d.PixelRepresentation = 15, 1
            d.RescaleSlope, d.RescaleIntercept = "1", "-1024" if modality == "CT" else "0"
            d.Units, d.DecayCorrection, d.CorrectedImage = "BQML", "START", ["ATTN", "DECY"]
            drug = Dataset()
            drug.Radiopharmaceutical, drug.RadiopharmaceuticalStartTime = "FDG", "090000"
            drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = "280000000", "6586.2"
            d.RadiopharmaceuticalInformationSequence = [drug]
            d.PixelData = random.integers(0, 3000, (matrix, matrix), dtype=np.int16).tobytes()
            d.file_meta = FileMetaDataset()
            d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            d.save_as(folder / f"{modality}{k:04d}", enforce_file_format=True)


def bare_pydicom(folder: Path) -> None:
    """What a reader must at least do: decode every slice into float32 volumes, sorted by name."""
    for pattern in ("CT*", "PT*"):
        files = sorted(folder.glob(pattern))
        first = pydicom.dcmread(files[0])
        volume = np.empty((len(files), first.Rows, first.Columns), np.float32)
        for k, file in enumerate(files):
            dataset = pydicom.dcmread(file)
            np.multiply(dataset.pixel_array, np.float32(dataset.RescaleSlope), out=volume[k], casting="unsafe")


def floor(folder: Path) -> None:
    """Read the bytes and write as many float32 values."""
    for pattern, pixels in (("CT*", 512 * 512), ("PT*", 200 * 200)):
        files = sorted(folder.glob(pattern))
        volume = np.empty((len(files), pixels), np.float32)
        for k, file in enumerate(files):
            volume[k] = np.frombuffer(file.read_bytes()[-2 * pixels :], "<i2")


def load(folder: Path) -> None:
    """Everything `fedpet` does: choose, order, calibrate, decode, check."""
    load_study(folder, pseudonym_key=b"benchmark")


def load_and_resample(folder: Path) -> None:
    """The same, then the CT on the PET's grid."""
    study = load_study(folder, pseudonym_key=b"benchmark")
    if study.ct is not None:
        resample(study.ct, Grid.of(study.pet), outside=-1024)


WAYS = {function.__name__: function for function in (floor, bare_pydicom, load, load_and_resample)}


def measure(way: str, folder: Path) -> dict[str, float]:
    """Median CPU time and added peak memory of one way, in this process."""
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS + 1):
        before = time.process_time()
        WAYS[way](folder)
        seconds.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": statistics.median(seconds[1:]), "peak_mb": (peak - idle) / 1024}


def main() -> None:
    """Measure every way in its own process and print a table."""
    if sys.argv[1:2] == ["--way"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as scratch:
        write_study(Path(scratch), slices)
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {slices} slices each")
        results = {}
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, scratch]
            results[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603  this script
    for way, result in results.items():
        ratios = f"{result['cpu'] / results['floor']['cpu']:.2f} x floor, "
        ratios += f"{result['cpu'] / results['bare_pydicom']['cpu']:.2f} x bare pydicom"
        print(f"{way:18s} {result['cpu']:6.2f} CPU s  +{result['peak_mb']:5.0f} MB  {ratios}")


if __name__ == "__main__":
    main()
