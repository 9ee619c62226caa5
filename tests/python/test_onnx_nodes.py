"""Every test of ONNX's own suite, against the list of those known not to pass."""
import warnings

import pytest

pytest.importorskip("onnx")

import onnx_nodes


@pytest.fixture(scope="module")
def cases():
    return onnx_nodes.load_cases()


def test_whole_suite(cases):
    known = onnx_nodes.load_known()
    assert set(known) <= set(cases), f"no such cases: {sorted(set(known) - set(cases))}"
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, case in cases.items():
            status, why = onnx_nodes.run(case)
            contradiction = onnx_nodes.verdict(status, known.get(name))
            if contradiction:
                wrong.append(f"{name}: {contradiction}: {why}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_result_fails(cases):
    """The comparison can fail."""
    import copy

    case = copy.deepcopy(cases["test_add"])
    inputs, outputs = case.data_sets[0]
    case.data_sets[0] = (inputs, [outputs[0] + 1])
    assert onnx_nodes.run(cases["test_add"]) == ("passed", "")
    assert onnx_nodes.run(case)[0] == "failed"


def test_verdicts():
    assert onnx_nodes.verdict("passed", None) is None
    assert onnx_nodes.verdict("unsupported", "a reason") is None
    assert "passes now" in onnx_nodes.verdict("passed", "a reason")
    assert onnx_nodes.verdict("failed", None) == "failed"
