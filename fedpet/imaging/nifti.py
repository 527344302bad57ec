"""Volumes as NIfTI files (NIfTI-1.1 and NIfTI-2, one file, plain or gzip).

NIfTI points are RAS millimetres; a `Volume` is in LPS. A header may give the position twice, as a rotation (qform) and
as a matrix (sform), each with a code; code 0 says that it is not given. Programs differ in which one they believe, so a
header whose two positions disagree has none.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
import SimpleITK

from fedpet.core.errors import SliceGeometryError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fedpet.imaging.volume import Affine, Unit

_ByteOrder = Literal["<", ">"]
sitk: Any = SimpleITK  # its methods are not typed
GZIP = b"\x1f\x8b"
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown, metre, millimetre, micrometre
_TEMPLATES = (3, 4)  # codes of Talairach and MNI space: no patient's coordinates
_AGREE = 0.25  # of the smallest voxel side, by which both positions of a voxel may differ
_MOST_VOXELS = 2**31
_LONGEST_EXTENSION = 2**26  # bytes between header and voxels
_LABEL = re.compile(rb'<Label\b[^>]*\bKey="(\d{1,9})"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]{1,200})')  # of a Caret extension


@dataclass(frozen=True)
class _Layout:
    """Where a version of the format keeps its fields: offset and `struct` code without the byte order."""

    size: int
    magic: tuple[int, bytes]
    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scale: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]
    units: tuple[int, str]


_NIFTI1 = _Layout(
    348, (344, b"n+1\0"), (40, "8h"), (70, "h"), (76, "8f"), (108, "f"), (112, "2f"), (252, "2h"), (256, "6f"),
    (280, "12f"), (123, "B"),
)  # fmt: skip
_NIFTI2 = _Layout(
    540, (4, b"n+2\0"), (16, "8q"), (12, "h"), (104, "8d"), (168, "q"), (176, "2d"), (344, "2i"), (352, "6d"),
    (400, "12d"), (500, "i"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class NiftiImage:
    """A 3D image and how its header gives the position.

    Attributes:
        volume: the image; values scaled as the header says.
        position: which of both gave the affine.
        template: the header says that the coordinates are those of a template (Talairach or MNI), not a patient's.
    """

    volume: Volume
    position: Literal["sform", "qform"]
    template: bool


def is_nifti(head: bytes) -> bool:
    """Whether a file with these first bytes (four at least) may be NIfTI: a header's size, or gzip."""
    return head.startswith(GZIP) or any(_byte_order(head, layout) for layout in (_NIFTI1, _NIFTI2))


def read_nifti(path: Path, unit: Unit) -> Volume:
    """A 3D NIfTI image, whatever its name.

    Raises:
        UnreadableStudyError: not a 3D NIfTI image.
        SliceGeometryError: see `read_nifti_image`.
    """
    return read_nifti_image(path, unit).volume


def read_nifti_image(path: Path, unit: Unit) -> NiftiImage:
    """A 3D NIfTI image, whatever its name, with the source of its position. A fourth axis of one volume is allowed.

    Raises:
        UnreadableStudyError: not a 3D NIfTI image, or a truncated one.
        SliceGeometryError: the header gives no position, or two that disagree.
    """
    try:
        with _opened(path) as stream:
            header = _Header.read(stream)
            array = header.voxels(stream)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise _unreadable() from error
    affine, position = header.position(array.shape)
    return NiftiImage(Volume(array, affine, unit), position, header.codes[position == "sform"] in _TEMPLATES)


def read_label_names(path: Path) -> dict[int, str]:
    """Names of the labels of a NIfTI image, from the label table of a header extension (as Caret and others write it).

    Returns:
        Name by label; empty without a label table.

    Raises:
        UnreadableStudyError: not a 3D NIfTI image, or a truncated one.
    """
    try:
        with _opened(path) as stream:
            extension = _Header.read(stream).extension(stream)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise _unreadable() from error
    return {int(key): name.decode("utf-8", "replace").strip() for key, name in _LABEL.findall(extension)}


def write_nifti(volume: Volume, path: Path) -> None:
    """Write `.nii` or `.nii.gz`; the same volume gives the same bytes.

    Raises:
        ValueError: the axes of the grid are not at right angles, which NIfTI through ITK cannot hold.
    """
    axes = volume.affine[:3, :3] / np.array(volume.spacing)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise ValueError("a sheared grid cannot be written: resample first")
    array = volume.array.astype(np.uint8) if volume.array.dtype == np.bool_ else volume.array
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetSpacing(volume.spacing)
    image.SetDirection(axes.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=path.name.endswith(".gz"))


def grid_box(affine: Affine, shape: tuple[int, ...]) -> Message:
    """Where a grid of `shape` (slices, rows, columns) lies, for a sentence: first voxel and centre, LPS mm."""
    centre = affine @ [*((np.array(shape[::-1]) - 1) / 2), 1.0]
    return Message(
        "first voxel at ({x:.1f}, {y:.1f}, {z:.1f}), centre at ({cx:.1f}, {cy:.1f}, {cz:.1f}) mm",
        **dict(zip(("x", "y", "z", "cx", "cy", "cz"), map(float, (*affine[:3, 3], *centre[:3])), strict=True)),
    )


@dataclass(frozen=True, eq=False)
class _Header:
    layout: _Layout
    order: _ByteOrder
    content: bytes

    @staticmethod
    def read(stream: BinaryIO) -> _Header:
        """The header at the start of a stream.

        Raises:
            ValueError: none of NIfTI, or one of a pair of files.
        """
        content = stream.read(_NIFTI1.size)
        for layout in (_NIFTI1, _NIFTI2):
            order = _byte_order(content, layout)
            if order:
                content += stream.read(layout.size - len(content))
                at, magic = layout.magic
                if content[at : at + 4] != magic:
                    break
                return _Header(layout, order, content)
        raise ValueError("no NIfTI header")

    @property
    def codes(self) -> tuple[int, int]:
        """qform_code and sform_code."""
        qform, sform = self._values(self.layout.codes)
        return int(qform), int(sform)

    def voxels(self, stream: BinaryIO) -> NDArray[Any]:
        """The array (slices, rows, columns), scaled.

        Raises:
            ValueError: not three axes, an unknown type, or fewer bytes than announced.
        """
        count, *sizes = (int(size) for size in self._values(self.layout.dim))
        if not 3 <= count <= 7 or min(sizes[:3]) < 1 or any(size > 1 for size in sizes[3:count]):
            raise ValueError("not one volume of three axes")
        name = _TYPES.get(int(self._values(self.layout.datatype)[0]))
        voxels = sizes[0] * sizes[1] * sizes[2]
        if name is None or voxels > _MOST_VOXELS:
            raise ValueError("an unknown type, or too many voxels")
        kind = np.dtype(name).newbyteorder(self.order)
        self.extension(stream)
        data = stream.read(voxels * kind.itemsize)
        stored = np.frombuffer(data, kind, voxels).reshape(sizes[2], sizes[1], sizes[0])
        slope, intercept = self._values(self.layout.scale)
        if not np.isfinite([slope, intercept]).all() or slope == 0 or (slope, intercept) == (1, 0):
            return stored.astype(kind.newbyteorder("="))
        return stored * float(slope) + float(intercept)

    def extension(self, stream: BinaryIO) -> bytes:
        """What lies between header and voxels.

        Raises:
            ValueError: no place of the first voxel.
        """
        length = int(self._values(self.layout.vox_offset)[0]) - self.layout.size
        if not 0 <= length <= _LONGEST_EXTENSION:
            raise ValueError("no place of the first voxel")
        return stream.read(length)

    def position(self, shape: tuple[int, ...]) -> tuple[Affine, Literal["sform", "qform"]]:
        """The affine to LPS mm and its source.

        Raises:
            SliceGeometryError: none, or two that disagree.
        """
        units = int(self._values(self.layout.units)[0]) & 7
        scale = np.diag([_MM.get(units, 1.0)] * 3 + [1.0])
        qform, sform = (
            _RAS_TO_LPS @ scale @ affine if code > 0 else None
            for code, affine in zip(self.codes, (self._qform(), self._sform()), strict=True)
        )
        chosen = qform if sform is None else sform
        if chosen is None or not np.isfinite(chosen).all() or abs(np.linalg.det(chosen[:3, :3])) < 1e-9:
            raise _no_position()
        if qform is not None and sform is not None and not _agree(qform, sform, shape):
            raise _disagreement(qform, sform, shape)
        return chosen, "qform" if sform is None else "sform"

    def _qform(self) -> Affine:
        """Of the quaternion (method 2 of the NIfTI-1 header)."""
        factor, *spacing = self._values(self.layout.pixdim)[:4]
        b, c, d, *origin = self._values(self.layout.quaternion)
        a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine = np.eye(4)
        affine[:3, :3] = rotation * np.abs(spacing) * [1, 1, -1 if factor < 0 else 1]
        affine[:3, 3] = origin
        return affine

    def _sform(self) -> Affine:
        return np.vstack([np.reshape(self._values(self.layout.rows), (3, 4)), [0, 0, 0, 1]]).astype(float)

    def _values(self, field: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(self.order + field[1], self.content, field[0])


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def _byte_order(head: bytes, layout: _Layout) -> _ByteOrder | None:
    """That of a header of this layout; None where it is none."""
    orders: tuple[_ByteOrder, ...] = ("<", ">")
    return next((order for order in orders if head.startswith(struct.pack(f"{order}i", layout.size))), None)


def _agree(qform: Affine, sform: Affine, shape: tuple[int, ...]) -> bool:
    ends = np.array(np.meshgrid(*[(0, size - 1) for size in shape[::-1]], [1], indexing="ij")).reshape(4, -1)
    apart = np.linalg.norm(((qform - sform) @ ends)[:3], axis=0).max()
    return bool(apart <= _AGREE * np.linalg.norm(sform[:3, :3], axis=0).min())


def _unreadable() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The file is not a readable 3D NIfTI image."),
        needed=Message("One NIfTI file (.nii or .nii.gz) of one volume, with numbers in its voxels."),
        advice=Message("Export the image again as NIfTI; 4D images, vectors and pairs of files are not read."),
    )


def _no_position() -> SliceGeometryError:
    return SliceGeometryError(
        found=Message("The NIfTI header gives no position: both form codes are 0, or its matrix is empty."),
        needed=Message("A header with the position in the patient (qform or sform with a code above 0)."),
        advice=Message("Export the mask again with the geometry of the image it was drawn on."),
    )


def _disagreement(qform: Affine, sform: Affine, shape: tuple[int, ...]) -> SliceGeometryError:
    return SliceGeometryError(
        found=Message(
            "The NIfTI header gives two positions that disagree. qform: {qform}; sform: {sform}.",
            qform=grid_box(qform, shape),
            sform=grid_box(sform, shape),
        ),
        needed=Message("One position: qform and sform that agree, or one of them alone."),
        advice=Message("Export the mask again with the geometry of the image it was drawn on."),
    )
