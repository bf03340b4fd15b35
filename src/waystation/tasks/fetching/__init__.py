"""Whole sets from where they are published: the hub, repositories, archives; locked, checked, cut to pieces."""
