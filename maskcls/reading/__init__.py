"""How photos and their labels are found: the mask layout, folders of classes, tables, and photos without labels."""
