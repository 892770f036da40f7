"""How photos and their labels are found: the mask layout, folders of classes, tables, datasets; and photos without."""
