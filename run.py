"""The command `adamms` of a checkout.

python run.py                                   the demo: map, search, merge, evaluate, report
python run.py mode=plan model=custom model.target.path=A model.donors.a.path=B
"""

from adamms.__main__ import main

if __name__ == "__main__":
    main()
