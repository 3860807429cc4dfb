"""Pre-trained towers, cut-outs, scenes and the embedded packs, for experiments without a download."""
