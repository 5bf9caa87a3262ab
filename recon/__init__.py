"""Pure numerics from acquisitions to images, SNR and sodium concentration. Knows no instrument."""
