"""Engines that start a study's workers elsewhere than on this machine: Ray."""
