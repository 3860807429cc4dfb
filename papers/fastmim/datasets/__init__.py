"""The offline images (digits, scenes) and the published datasets (ImageNet, COCO, ADE20K), a reader each."""
