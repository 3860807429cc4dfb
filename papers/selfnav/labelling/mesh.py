"""The labelled house as a mesh: the outer faces of its voxels, coloured by class, in a .ply file."""

from pathlib import Path

import numpy as np

from shared.support.files import write_atomic

COLOURS = np.array(
    [(170, 170, 170), (230, 60, 60), (60, 170, 60), (60, 220, 160), (70, 110, 230), (200, 90, 220), (240, 170, 40)],
    np.uint8,
)
"""Red, green and blue of the background and of the six categories."""
_FACES = (  # direction of a neighbour, and the four corners of the face towards it
    ((-1, 0, 0), ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0))),
    ((1, 0, 0), ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1))),
    ((0, -1, 0), ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1))),
    ((0, 1, 0), ((0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0))),
    ((0, 0, -1), ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0))),
    ((0, 0, 1), ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))),
)


def voxel_mesh(
    occupied: np.ndarray, labels: np.ndarray, origin: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (4 Q, 3) in metres, faces (Q, 4), and class of each face (Q,), of voxels (X, Y, Z)."""
    padded = np.pad(occupied, 1)
    vertices, classes = [], []
    for direction, corners in _FACES:
        neighbour = tuple(slice(1 + d, 1 + d + n) for d, n in zip(direction, occupied.shape, strict=True))
        cells = np.argwhere(occupied & ~padded[neighbour])
        vertices.append((cells[:, None] + np.array(corners)).reshape(-1, 3))
        classes.append(labels[tuple(cells.T)])
    points = np.concatenate(vertices) * size + origin
    return points, np.arange(len(points)).reshape(-1, 4), np.concatenate(classes)


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray, classes: np.ndarray) -> None:
    """Write a binary PLY file: vertices x, y, z and faces of four corners with a colour and a class number."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty int class\nend_header\n"
    )
    table = np.zeros(len(faces), [("n", "u1"), ("corner", "<i4", 4), ("colour", "u1", 3), ("class", "<i4")])
    table["n"], table["corner"], table["colour"], table["class"] = 4, faces, COLOURS[classes], classes
    write_atomic(path, header.encode() + vertices.astype("<f4").tobytes() + table.tobytes())
