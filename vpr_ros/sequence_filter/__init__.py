# SPDX-License-Identifier: Apache-2.0
"""Time: which of a picture's matches agree with the pictures before it.

`filter` is the way in: `SequenceFilter.update` takes a picture's similarities and the motion since
the picture before, and answers with a `Belief`. `bayes` is the discrete Bayes filter over the
places of a map, `pace` the one over places and paces where no motion can be known (`masses`: what
the two share), `chain` the plain rule of n successive pictures. `places` knows which places are
near which, `observation` turns similarities into likelihoods, `motion` says how far the camera may
have come. `config` holds what is given and what comes back.
"""
