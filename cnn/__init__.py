"""Real networks: train, record and measure the collapse of BatchNorm's gamma.

``python -m cnn.train --out DIR`` trains one; `cnn.train.train` is the same from Python. Only this
package imports torch, which is loaded when something is trained or measured.
"""
