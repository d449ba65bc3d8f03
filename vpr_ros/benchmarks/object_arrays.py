# SPDX-License-Identifier: Apache-2.0
"""Read .npy files, those of objects among them, without running anything that they hold.

The field publishes its ground truth as arrays of objects (a list of rows per query), which NumPy
keeps as a pickle: `numpy.load(allow_pickle=True)` would run whatever such a file asks for.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from vpr_ros.errors import SourceError

_PLAIN_TYPE = re.compile(r'b1|[iuf][248]|[iu]1|U\d{1,6}')  # as in numpy.dtype(text)


def read_array(path: Path) -> np.ndarray:
    """Read a .npy file.

    Returns:
        The array as it was saved; one of objects holds int, str and arrays of these only.

    Raises:
        FileNotFoundError: There is no such file.
        SourceError: Not a .npy file, a damaged one, or one that holds something else.
    """
    with path.open('rb') as file:
        try:
            return _read(file)
        except _RefusedError as error:
            raise SourceError(
                f'{path} asks for {error}, which no array of numbers and names needs: nothing in '
                'it was run; get the file from its publisher again'
            ) from None
        except Exception as error:  # a damaged pickle may raise anything, the manual says
            raise SourceError(
                f'{path} is not a .npy file that can be read ({error}); get it again, or save it '
                'with numpy.save'
            ) from error


def _read(file: BinaryIO) -> np.ndarray:
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject:
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)
    if dtype.kind != 'O':
        raise ValueError(f'its elements are records with objects, {dtype}')
    array = _RestrictedReader(file).load()
    if not isinstance(array, _Array) or array.value is None or array.value.shape != shape:
        raise ValueError(f'no array of shape {shape} follows its header')
    return array.value


class _RefusedError(Exception):
    """A pickle asks for something that is not on the list; the text says for what."""


class _RestrictedReader(pickle.Unpickler):
    """Reads a pickled array without running anything of the file, and without NumPy's pickling.

    Why that is safe: a pickle acts only through the objects that `find_class` hands out. Here
    these are the four stand-ins below, whatever the file asks for; they are Python functions that
    check their arguments and can build an int, a text or an array of them. NumPy's own functions
    of these names would not do: `ndarray` and the state of a `dtype` make an array of objects
    from raw bytes, which are then followed as pointers.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Hand out the stand-in of that name, or refuse."""
        function = _STAND_INS.get((module.replace('numpy._core', 'numpy.core'), name))
        if function is None:
            raise _RefusedError(f'{module}.{name}')
        return _StandIn(function)


class _StandIn:
    """Calls a function; made anew for each use, lest a file change it for the next file."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Dtype:
    """Stands for numpy.dtype."""

    __slots__ = ('_byte_order', '_text')

    def __init__(self, text: str) -> None:
        if text not in {'O', 'O8'} and not _PLAIN_TYPE.fullmatch(text):
            raise ValueError(f'elements of type {text!r}')
        self._text = text
        self._byte_order = '='

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order; size and flags follow from the text."""
        if state[1] not in {'<', '>', '|', '='}:
            raise ValueError(f'byte order {state[1]!r}')
        self._byte_order = state[1]

    def array(self, content: list[Any] | bytes) -> np.ndarray:
        """Return the elements, one dimension."""
        if not self._text.startswith('O'):
            if not isinstance(content, bytes):
                raise TypeError(f'numbers from a {type(content).__name__}')
            return np.frombuffer(content, np.dtype(self._byte_order + self._text))
        if not isinstance(content, list):
            raise TypeError(f'objects from a {type(content).__name__}')
        array = np.empty(len(content), object)
        for i, item in enumerate(content):
            array[i] = _plain(item)
        return array


class _Array:
    """Stands for a numpy.ndarray, which gets its content after it was made."""

    __slots__ = ('value',)

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        elements = dtype.array(content)
        if math.prod(shape) != len(elements) or min(shape, default=1) < 0:
            raise ValueError(f'{len(elements)} elements in an array of shape {shape}')
        # NumPy writes numbers as they lie in memory, objects always row by row.
        by_columns = is_fortran and isinstance(content, bytes)
        self.value = elements.reshape(shape, order='F' if by_columns else 'C')


def _plain(item: object) -> int | str | np.ndarray:
    """Return an element of an array of objects as what it stands for."""
    if isinstance(item, _Array) and item.value is not None:
        return item.value
    if isinstance(item, list | tuple):
        return np.array([_whole_number(number) for number in item], np.int64)
    if isinstance(item, str):
        return item
    return _whole_number(item)


def _whole_number(item: object) -> int:
    if isinstance(item, int):
        return item
    raise TypeError(f'an element of type {type(item).__name__}')


def _array_class(*_: object) -> None:
    """Stand for numpy.ndarray, which files only name and never call."""
    raise pickle.UnpicklingError('numpy.ndarray is called')


def _reconstruct(_class: object, _shape: object, _type: object) -> _Array:
    return _Array()


def _dtype(text: str, _align: object = False, _copy: object = False) -> _Dtype:
    return _Dtype(text)


def _scalar(dtype: _Dtype, content: bytes) -> int | str:
    return _plain(dtype.array(content).item())  # type: ignore[return-value]


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy', 'ndarray'): _array_class,
    ('numpy', 'dtype'): _dtype,
}
