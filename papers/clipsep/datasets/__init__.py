"""Where clips come from: the paper's videos and the embedded recordings, read alike."""
