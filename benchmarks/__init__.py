"""What remora costs and how fast it is: each goal of the project as a number that can be measured again.

`python -m benchmarks` runs all, `python -m benchmarks NAME…` some. JSON lines on standard output, words on standard
error. What depends on the machine is measured beside its baseline in the same run, in alternating rounds, and told as
the ratio of medians; the loops are bounded and everything that was made is removed, also after a failure or Ctrl-C.
"""
