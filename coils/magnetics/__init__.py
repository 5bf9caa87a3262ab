"""From the geometry of a coil array to its inductances, losses, fields and best possible SNR.

``loops`` describes conductors, ``arrays`` repeats them; ``inductance`` (any path) and ``closed_forms`` (the
handbook's shapes) give L; ``conductors`` and ``components`` the resistance of copper and parts; ``samples``,
``sphere`` and ``half_space`` what the load adds; ``field`` B1- and B1+, with the one sign convention;
``snr`` what an array can hear and what is the most any array could. ``matrices`` is the front door.

True: magnetoquasistatic currents, one current per loop, in air. Wave effects are known inside the sample
only, where they matter first. Not true: radiation into free space (except where a function says so), currents
that change along the conductor, eddy currents in neighbours' copper or in a shield.
"""
