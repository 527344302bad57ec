"""What every package uses: errors, messages in French and English, progress, settings, journal."""
