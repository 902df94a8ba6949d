"""The maker of ``emoji_scenes``, the small world that ships; not in the wheel."""
