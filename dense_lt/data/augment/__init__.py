"""Samples made of several images: mosaic, mixup, copy-paste; and random geometry."""
