"""CPU time and memory of `imaging.load_study` against other ways to read the same slices.

Makes a PET/CT study in a temporary folder (CT 300 slices of 512 x 512, PET 300 of 200 x 200), then, for each way,
starts a fresh process that reads it `REPEATS` times; prints the median CPU time, the peak of memory beyond the imports
and the ratios. The ways take turns, so that a busy machine slows them alike.

- `floor`: read the bytes, write as many float32 values.
- `bare_pydicom`: a loop over the sorted files, `dcmread` and `pixel_array` into a float32 volume.
- `simpleitk`: `ImageSeriesReader` on the sorted files of each series, as float32; `simpleitk_gdcm` also lets GDCM find
  and order them.
- `monai_itk`, `monai_pydicom`: `LoadImage` of each series with either reader.
- `load`: `load_study`: choice of series, geometry, SUV, privacy; `load_zip` the same from a zip archive;
  `load_and_check` also looks at the quality checks (anatomy included), which are made when first looked at;
  `load_and_resample` also brings the CT onto the PET's grid.

Run: `python -m benchmarks.imaging_loading [slices [way ...]]`, `ROUNDS` processes each in turn. Compare ratios, not
seconds.
"""

from __future__ import annotations

import importlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from benchmarks.figures import Comparison, report
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from fedpet.imaging.resampling import Grid, resample

REPEATS = 5
ROUNDS = 3  # processes for each way
IMPORTS = {"simpleitk": "SimpleITK", "simpleitk_gdcm": "SimpleITK", "monai_itk": "monai.transforms"}
IMPORTS["monai_pydicom"] = IMPORTS["monai_itk"]


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
            d.InstanceNumber, d.Rows, d.Columns = k + 1, matrix, matrix
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
            (folder / modality).mkdir(parents=True, exist_ok=True)
            d.save_as(folder / modality / f"{k:04d}", enforce_file_format=True)


def series_files(folder: Path) -> list[list[Path]]:
    """The files of both series, in the order of their slices."""
    return [sorted((folder / modality).iterdir()) for modality in ("CT", "PT")]


def floor(folder: Path) -> None:
    """Read the bytes and write as many float32 values."""
    for files, pixels in zip(series_files(folder), (512 * 512, 200 * 200), strict=True):
        volume = np.empty((len(files), pixels), np.float32)
        for k, file in enumerate(files):
            volume[k] = np.frombuffer(file.read_bytes()[-2 * pixels :], "<i2")


def bare_pydicom(folder: Path) -> None:
    """What a reader must at least do: decode every slice into float32 volumes, sorted by name."""
    for files in series_files(folder):
        first = pydicom.dcmread(files[0])
        volume = np.empty((len(files), first.Rows, first.Columns), np.float32)
        for k, file in enumerate(files):
            dataset = pydicom.dcmread(file)
            np.multiply(dataset.pixel_array, np.float32(dataset.RescaleSlope), out=volume[k], casting="unsafe")


def simpleitk(folder: Path, *, gdcm: bool = False) -> None:
    """SimpleITK's series reader on files already in order, or found and ordered by GDCM."""
    sitk: Any = importlib.import_module("SimpleITK")  # only the process that measures it should hold it
    for files in series_files(folder):
        reader = sitk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(files[0].parent)) if gdcm else [str(file) for file in files]
        reader.SetFileNames(names)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        sitk.GetArrayFromImage(reader.Execute())


def simpleitk_gdcm(folder: Path) -> None:
    """The same, with the series found and ordered."""
    simpleitk(folder, gdcm=True)


def monai(folder: Path, reader: str) -> None:
    """MONAI's `LoadImage`."""
    transforms: Any = importlib.import_module("monai.transforms")
    for modality in ("CT", "PT"):
        transforms.LoadImage(reader=reader, image_only=True)(folder / modality)


def monai_itk(folder: Path) -> None:
    """With ITKReader, its default for DICOM."""
    monai(folder, "ITKReader")


def monai_pydicom(folder: Path) -> None:
    """With PydicomReader."""
    monai(folder, "PydicomReader")


def load(folder: Path) -> None:
    """Choose, order, calibrate, decode."""
    load_study(folder, pseudonym_key=b"benchmark")


def load_and_resample(folder: Path) -> None:
    """The same, then the CT on the PET's grid."""
    study = load_study(folder, pseudonym_key=b"benchmark")
    if study.ct is not None:
        resample(study.ct, Grid.of(study.pet), outside=-1024)


def load_and_check(folder: Path) -> None:
    """The same, then every quality check."""
    list(StudyAnalysis(load_study(folder, pseudonym_key=b"benchmark")).checks)


def load_zip(folder: Path) -> None:
    """The same from a zip archive."""
    load_study(folder.parent / "study.zip", pseudonym_key=b"benchmark")


WAYS = {
    way.__name__: way
    for way in (
        floor,
        bare_pydicom,
        load,
        load_zip,
        load_and_check,
        load_and_resample,
        simpleitk,
        simpleitk_gdcm,
        monai_itk,
        monai_pydicom,
    )
}


def measure(way: str, folder: Path) -> dict[str, Any]:
    """CPU time of every run and added peak memory (MB) of one way, in this process."""
    if way in IMPORTS:
        importlib.import_module(IMPORTS[way])
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS + 1):
        before = time.process_time()
        WAYS[way](folder)
        seconds.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": seconds[1:], "peak_mb": (peak - idle) / 1024}


def measured_apart(way: str, folder: Path) -> dict[str, Any]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--way", way, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  this script
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    """Measure every way in its own processes and print a table."""
    if sys.argv[1:2] == ["--way"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    ways = sys.argv[2:] or list(WAYS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        write_study(folder, slices)
        shutil.make_archive(str(folder), "zip", folder)
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way in ways:
                rounds[way].append(measured_apart(way, folder))
    cpu = {way: [run for one in results for run in one["cpu"]] for way, results in rounds.items()}
    peak = {way: [one["peak_mb"] for one in results] for way, results in rounds.items()}
    volumes_mb = slices * (512**2 + 200**2) * 4 / 2**20
    memory = ", ".join(f"{way} {max(runs) / volumes_mb:.2f}" for way, runs in peak.items())
    note = f"Memory beyond the imports over the {volumes_mb:.0f} MB of both volumes as float32: {memory}."
    reference = "bare_pydicom" if "bare_pydicom" in ways else ways[0]
    report(Comparison(f"reading {slices} slices of CT and of PET", "CPU s", reference, cpu, notes=(note,)))


if __name__ == "__main__":
    main()
