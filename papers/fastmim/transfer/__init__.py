"""Transfer of an encoder to object detection (COCO) and semantic segmentation (ADE20K)."""
