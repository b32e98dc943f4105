"""Bad input of every kind: what comes of it is an error of ours, nothing is written, and no call keeps the server busy.

The same examples in every run, few enough for every day. To look for more, with other examples each time, on both
servers, for as many minutes as there are::

    make fuzz MINUTES=30
    python -m tests.fuzz --minutes 30 --examples 20 -k scripts   # 20 times as many in each round; what pytest takes

What fails is printed with its input. It becomes a test of its own, where the part at fault has its tests.
"""
