"""The walk through a script against bash itself, which is its second derivation."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.doctor.shell.arithmetic import UnknownError, evaluate
from moewright.doctor.shell.interpreter import walk
from moewright.errors import SpecError

BASH = shutil.which("bash")

SCRIPTS = [
    "X=4; p a$X \"b $X\" 'c $X' d\\ e",
    'p ${X:-8} ${Y-} "${Z:-a b}" ${W:=7} $W',
    'A=(--tp 8 \'x y\'); A+=(--dp "${D:-4}"); p "${A[@]}" ${#A[@]} ${A[1]}',
    "declare -A M=([tp]=8 [dp]=2); p ${M[tp]} ${M[dp]}",
    "N=3; p $((N*2+1)) $(( N > 2 ? N*N : 0 )) $((0x10 | 1)) $((7/2)) $((-7/2)) $((-7%3))",
    "for i in {0..2} a{x,y}; do p n$i; done",
    "for ((i=0; i<3; i++)); do p $i $((8000+i)); done",
    "i=0; while [ $i -lt 3 ]; do p w$i; i=$((i+1)); done",
    'if [ "$Q" = true ]; then p yes; elif [[ -z "$Q" ]]; then p unset; else p no; fi',
    "M=deepseek-ai/DeepSeek-V3; if [[ $M == *V3* && $M != *R1* ]]; then p three; fi; p ${M##*/} ${M%%/*} ${M/-/_}",
    "case abc in a*) p first;; *) p other;; esac; case x in y|x) p x;; esac",
    'f() { local n=$1; shift; p "$n" "$@" $#; }; f 1 2 \'three four\'',
    "cat > /dev/null <<EOF\nline $X\nEOF\np done",
    "p a \\\n  b \\\n  c # no more\np d",
    'X=1 p $X; (X=5; p $X); p "[${X-}]"',
    "false && p no; true && p yes; false || p or; ! false && p not",
    'p "$(echo a   b)" $(echo c d) $(seq 2 4)',
    'S=\'--a 1 --b 2\'; p $S "$S"; E=; p $E x "$E" y',
    'p "{\\"a\\": 1}" \'{"b": [1, 2]}\'',
    'set -- a b c; p $1 "${@:2}" $#; shift; p $1',
    "X=abcdef; p ${X:2} ${X:1:3} ${#X} ${X^^}",
    'function g { p "$@"; }; g x; { p y; }; [[ 10 -gt 9 ]] && p z',
    "eval 'p ev $((1+1))'",
    "T=$'a\\tb'; p \"$T\"",
]


def by_bash(script):
    text = "p() { printf '%s\\x1f' \"$@\"; printf '\\x1e'; }\n" + script
    out = subprocess.run([BASH, "--norc", "-c", text], capture_output=True, text=True, check=False).stdout
    return [tuple(line.split("\x1f")[:-1]) if line != "\x1f" else ("",) for line in out.split("\x1e")[:-1]]


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize("script", SCRIPTS)
def test_words_are_those_that_bash_makes(script):
    started = [s.words[1:] for s in walk(script, arguments=[]).started if s.words[0] == "p"]
    expected = by_bash(script)
    # what bash leaves empty for want of a value is a mark here
    assert [tuple(w for w in words if "\ue000" not in w) for words in started] == [
        tuple(w for w in words if w or "" in started[i]) for i, words in enumerate(expected)
    ]


def numbers():
    small = st.integers(0, 40).map(str)
    return st.recursive(
        small,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, st.sampled_from(["<", ">=", "==", "!=", "&&", "||", "&", "|", "^"]), inner)
            .map(" ".join)
            .map("({})".format),
            st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
            inner.map(lambda x: f"-({x})"),
        ),
        max_leaves=8,
    )


@pytest.mark.skipif(BASH is None, reason="no bash")
@settings(max_examples=40)
@given(st.lists(numbers(), min_size=8, max_size=8))
def test_arithmetic_is_that_of_bash(texts):
    for text in texts:
        done = subprocess.run([BASH, "-c", f"echo $(( {text} ))"], capture_output=True, text=True, check=False)
        try:
            value = evaluate(text, lambda name: None, lambda name, value: None)
        except UnknownError:
            assert done.returncode != 0 or "division" in done.stderr
        else:
            assert done.stdout.strip() == str(value), text


def test_what_is_not_set_goes_on_as_a_mark_that_names_it():
    state = walk('vllm serve m --tp "$TP" --len $(( A * 2 )) $EXTRA')
    assert state.unset == ["TP", "A", "EXTRA"]
    assert state.started[0].words[4] == "\ue000TP\ue001"


@pytest.mark.parametrize(
    ("script", "where"),
    [
        ("echo 'a\nvllm serve x", "' is not closed"),
        ("if true; then vllm serve x", "fi"),
        ("for i in 1 2; vllm serve", "do"),
        ("a | | b", "a command"),
        ("x=$((1+2)", "( is not closed"),
        ("( " * 200 + "a" + " )" * 200, "deep"),
    ],
)
def test_what_the_shell_would_not_read_is_refused_with_its_line(script, where):
    with pytest.raises(SpecError, match=r"line (1|2)") as error:
        walk(script)
    assert where in str(error.value)


def test_a_loop_without_end_is_left():
    state = walk("while true; do sleep 1; done; i=0; while true; do i=$((i+1)); done; vllm serve x")
    assert state.started[-1].words == ("vllm", "serve", "x")
    with pytest.raises(SpecError, match="commands"):
        walk("for a in {0..999}; do for b in {0..999}; do x; done; done")


def test_here_documents_become_files():
    state = walk("N=5\ncat > c.yaml <<EOF\nmax: $N\nEOF\ncat <<'E' | tee d.yaml\nraw: $N\nE\necho 'k: v' > e.yaml")
    assert state.files == {"c.yaml": "max: 5\n", "d.yaml": "raw: $N\n", "e.yaml": "k: v\n"}
