"""Parts that commands and loops share besides the method: files, weights, images, figures and the command line."""
