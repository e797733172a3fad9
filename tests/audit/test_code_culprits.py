"""Lines of code that hold by themselves and make the lines below come out other than they say."""

from audits import failing
from moewright.audit.judges.calculations.code_culprits import MOST_LINES

CODE = """```python
L, D, TOP_K, SEQS = 61, 7168, 8, 64
RANK, ROPE = 512, 64
token = (RANK + ROPE) * 2{layers}        # {token}
cache = SEQS * 4096 * token    # 18.42 GB
t_kv = cache / 4.0e12          # 4.61 ms
disp = SEQS{k} * D             # {disp}
comb = SEQS * TOP_K * D * 2    # 7.34 MB
sent = 58 * (disp + comb)      # 638.6 MB
```"""


def test_a_calculation_that_holds():
    assert failing(CODE.format(layers=" * L", token="70,272 bytes", k=" * TOP_K", disp="3.67 MB")) == []


def test_the_line_that_two_below_need_otherwise():
    (claim,) = failing(CODE.format(layers="", token="1,152 bytes", k=" * TOP_K", disp="3.67 MB"))
    assert (claim.line, claim.quantity) == (6, "arithmetic")
    assert claim.why == "line 7, 8 comes out as it says with 61 times that"


def test_a_whole_factor_that_one_line_needs():
    (claim,) = failing(CODE.format(layers=" * L", token="70,272 bytes", k="", disp="0.459 MB"))
    assert claim.line == 9
    assert "line 11 comes out as it says with 8" in claim.why


def test_a_line_that_is_off_itself_is_its_own():
    code = CODE.format(layers=" * L", token="70,272 bytes", k=" * TOP_K", disp="3.67 MB").replace(
        "18.42 GB", "184.2 GB"
    )
    (claim,) = failing(code)
    assert claim.line == 7


def test_two_errors_are_two_verdicts():
    found = failing(CODE.format(layers="", token="1,152 bytes", k="", disp="0.459 MB"))
    assert [c.line for c in found] == [6, 9]


WEIGHTS = "```python\nn = 16 * 58 * 44.04e6   # {}\nfree = 86.4e9 - n       # 45.53 GB\n```"


def test_bytes_that_the_next_line_does_not_take():
    assert failing(WEIGHTS.format("40.87 GB")) == []
    (claim,) = failing(WEIGHTS.format("81.74 GB"))
    assert claim.line == 4
    assert failing(WEIGHTS.format("81.74 GB in BF16")) == []


def test_an_open_bracket_goes_on_in_the_next_line():
    code = "```python\na = (3 * 1000\n     + 4 * 1000)   # {}\n```"
    assert failing(code.format("7,000")) == []
    (claim,) = failing(code.format("8,000"))
    assert claim.line == 5


def test_a_line_that_others_need_as_it_is_is_not_blamed():
    (claim,) = failing("```python\na = 5 * 2         # 10\nb = a * 3 + 1     # 31\nd = a * 7 + 4.3   # 564.3\n```")
    assert claim.line == 6


def test_bytes_of_elements_that_the_next_line_counts():
    assert failing(WEIGHTS.format("81.74 GB").replace("- n       # 45.53 GB", "- n * 2   # 4.66 GB")) == []


def test_long_code_is_judged_line_by_line():
    short = CODE.format(layers="", token="1,152 bytes", k=" * TOP_K", disp="3.67 MB")
    long = short.replace("```python\n", "```python\n" + "".join(f"n{i} = {i}\n" for i in range(MOST_LINES)))
    assert len(failing(short)) == 1
    assert len(failing(long)) == 2
