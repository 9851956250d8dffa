"""The draft of a multi-arch image, and every rule about it that needs no database and no registry."""
