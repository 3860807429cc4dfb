"""Clean-up of a voxel label map as a public reading of SEAL has it (facts from ReSEAL; see DEVIATIONS.md)."""

import numpy as np
from scipy import ndimage

SIX = ndimage.generate_binary_structure(3, 1)


def label_map(
    scores: np.ndarray,
    occupied: np.ndarray,
    *,
    threshold: float = 0.5,
    hole_voxels: int = 6,
    object_voxels: int = 5,
    dilate: bool = False,
    expand_occupancy: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occupancy, labels and instances, each (X, Y, Z), of class scores.

    Unlabelled holes take the commonest label around them, small objects go, and what is left is numbered by its
    components, in which classes are not told apart.

    Args:
        scores: (X, Y, Z, C) the highest score of each class. occupied: (X, Y, Z).
        threshold: scores below it count as none.
        hole_voxels: components of unlabelled voxels with fewer are filled.
        object_voxels: components of labelled voxels with no more are cleared.
        dilate: let every class grow by a voxel into unlabelled ones.
        expand_occupancy: let it grow into free voxels as well.
    """
    kept = np.where(scores < threshold, 0, scores)
    labels = np.where(kept.max(-1) > 0, kept.argmax(-1) + 1, 0)
    occupied = occupied > 0
    holes, count = ndimage.label(labels == 0, SIX)
    before = labels.copy()
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    for number, box in enumerate(ndimage.find_objects(holes, count), 1):
        if sizes[number] >= hole_voxels:
            continue
        around = before[tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)]
        around = around[around > 0]
        if len(around):
            hole = holes[box] == number
            labels[box][hole] = np.bincount(around).argmax()
            occupied[box][hole] = True
    components, count = ndimage.label(labels > 0, SIX)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    labels[(components > 0) & (sizes <= object_voxels)[components]] = 0
    if dilate:
        for label in np.unique(labels[labels > 0]):
            grown = ndimage.binary_dilation(labels == label, SIX) & (labels == 0)
            labels[grown if expand_occupancy else grown & occupied] = label
        if expand_occupancy:
            occupied = occupied | (labels > 0)
    instances, _ = ndimage.label(labels > 0, SIX)
    return occupied, labels, instances
