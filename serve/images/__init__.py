"""Images to what a graph takes: bytes checked before they are decoded, decoded to RGB, resized and normalized."""
