"""Devices behind include/tenon/device.h, and files with programs for several chips."""
import json
import subprocess
import threading

import numpy as np
import pytest
from conftest import BUILD, ROOT
from conftest import command as run

import tenon

DIGITS = ROOT / "examples/digits/saved_model"
IMAGES = np.load(ROOT / "examples/digits/digits.npy")
CHIPS = ["ascend310p3", "mlu370-s4"]
LOOP = """graph @main (%x: f32[4,8]) {
  %zero = const dense<0> : i64[]
  %w = const random(seed=1) : f32[8,8]
  %m = matmul(%x, %w) from "dense/MatMul"
  %i, %y = while(%zero, %m) with {
    graph @cond (%i: i64[], %x: f32[4,8]) {
      %five = const dense<5> : i64[]
      %more = less(%i, %five)
      return (%more)
    }
    graph @body (%i: i64[], %x: f32[4,8]) {
      %one = const dense<1> : i64[]
      %next = add(%i, %one)
      %twice = add(%x, %x)
      return (%next, %twice)
    }
  } from "steps/while"
  %z = relu(%y) from "out/Relu"
  return (%z "out")
}
"""


@pytest.fixture(scope="module")
def chips_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("chips") / "digits.tenon"
    run("compile", DIGITS, "--target", "cpu,ascend310p3,mlu370-s4", "--batch", "1,8", "-o", path)
    return path


@pytest.mark.parametrize("library, device", [
    ("libtenon_runtime.so", "cpu"),
    ("libtenon_device_null.so", "null"),
    ("libtenon_device_simulated.so", "ascend310p3"),
    ("libtenon_device_simulated.so", "mlu370-s4"),
])
def test_devices_pass_the_suite(library, device):
    done = run("device-test", BUILD / "lib" / library, "--device", device, "--list",
               ROOT / f"tests/devices/{device}.list", "--json")
    cases = json.loads(done.stdout)["cases"]
    assert len(cases) > 50
    assert [c for c in cases if not c["good"]] == []


def test_the_suite_takes_a_device_by_its_name():
    done = run("device-test", "ascend310p3", "--filter", "memory/*", "--json")
    assert json.loads(done.stdout)["device"] == "ascend310p3"
    assert "nosuch" in run("device-test", "nosuch", status=1).stderr
    assert "libtenon_runtime.so" in run("device-test", "cpu", status=1).stderr
    assert "chooses among" in run("device-test", "null", "--device", "null", status=1).stderr


def test_what_is_listed_and_passes_is_an_error(tmp_path):
    lists = tmp_path / "wrong.list"
    lists.write_text("xfail memory/copies  it is said to fail\nxfail no/such*  nothing is called so\n")
    done = run("device-test", BUILD / "lib/libtenon_device_null.so", "--list", lists, "--filter", "memory/*",
               status=1)
    assert "it passes, but the list says" in done.stdout and "the list names no case" in done.stdout


def test_devices_are_listed():
    names = [d["name"] for d in json.loads(run("devices", "--json").stdout)]
    assert names[0] == "cpu" and {"null", *CHIPS} <= set(names)
    assert [d.name for d in tenon.devices()] == names
    simulated = {d.name: d.simulated for d in tenon.devices()}
    assert not simulated["cpu"] and simulated["mlu370-s4"]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("batch", [1, 8])
def test_programs_of_the_file_run(chips_file, chip, batch):
    cpu, runner = tenon.Runner(chips_file), tenon.Runner(chips_file, device=chip)
    assert (cpu.device, runner.device) == ("cpu", chip)
    expected, found = (list(r.run(IMAGES[:batch]).values())[0] for r in (cpu, runner))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert not np.array_equal(found, expected), "the chip computes in f16"
    assert not any("compiled from" in n for n in runner.notices), runner.notices
    assert runner.counters["executions"] == 1 and runner.counters["seconds"] > 0
    assert cpu.counters == {} and cpu.notices == ()


def test_the_predicted_time_is_that_of_predict(chips_file):
    runner = tenon.Runner(chips_file, device="ascend310p3")
    runner.run(IMAGES[:8])
    done = run("predict", DIGITS, "--target", "ascend310p3", "--batch", 8, "--json")
    assert runner.counters["last_seconds"] * 1e3 == pytest.approx(json.loads(done.stdout)[0]["latency_ms"], rel=0.02)


def test_other_sizes_and_chips_are_compiled_at_load(chips_file):
    runner = tenon.Runner(chips_file, device="ascend310p3")
    expected = list(tenon.Runner(chips_file).run(IMAGES[:3]).values())[0]
    np.testing.assert_allclose(list(runner.run(IMAGES[:3]).values())[0], expected, atol=2e-3)
    assert any("no program for ascend310p3 for inputs" in n for n in runner.notices)
    member = tenon.Runner(chips_file, device="Ascend310P1")
    np.testing.assert_allclose(list(member.run(IMAGES[:3]).values())[0], expected, atol=2e-3)
    assert any("has no programs for ascend310p1" in n for n in member.notices)


def test_precision_is_chosen_at_load(chips_file):
    if "mlu370-s4" not in [d.name for d in tenon.devices()]:
        pytest.skip("no simulated devices")
    expected = list(tenon.Runner(chips_file).run(IMAGES[:1]).values())[0]
    exact = list(tenon.Runner(chips_file, device="mlu370-s4", precision="fp32").run(IMAGES[:1]).values())[0]
    np.testing.assert_allclose(exact, expected, atol=1e-5)


def test_the_file_grows_by_programs_not_by_weights(chips_file, tmp_path):
    run("compile", DIGITS, "-o", tmp_path / "cpu.tenon")
    plain, chips = (json.loads(run("inspect", f, "--json").stdout) for f in (tmp_path / "cpu.tenon", chips_file))
    assert plain["targets"] == [] and [t["target"] for t in chips["targets"]] == CHIPS
    assert all(t["usable"] and len(t["programs"]) == 4 for t in chips["targets"])

    def bytes_of(report, name):
        return sum(s["bytes"] for s in report["sections"] if s["name"] == name)
    weights = ("weights", "packed weights")
    assert sum(bytes_of(chips, w) for w in weights) < 1.1 * sum(bytes_of(plain, w) for w in weights)
    assert bytes_of(chips, "device") == pytest.approx(sum(t["bytes"] for t in chips["targets"]), abs=256)


def test_compilation_for_chips_is_deterministic(tmp_path):
    for name in ("a", "b"):
        run("compile", DIGITS, "--target", "cambricon", "--batch", "1", "-o", tmp_path / name)
    a, b = ((tmp_path / name).read_bytes() for name in ("a", "b"))
    assert a == b
    targets = json.loads(run("inspect", tmp_path / "a", "--json").stdout)["targets"]
    assert len(targets) > 3 and all(t["target"].startswith("mlu") for t in targets)


def test_unknown_targets_and_devices_name_the_nearest(chips_file):
    for done in (run("compile", DIGITS, "--target", "cpu,ascend310p4", status=2),
                 run("run", chips_file, "--device", "ascend310p4", status=1)):
        assert "did you mean" in done.stderr and "ascend310p3" in done.stderr
    assert "is a family of devices; name one: mlu220" in run("run", chips_file, "--device", "cambricon", status=1).stderr
    with pytest.raises(tenon.Error, match="mlu370-s4"):
        tenon.Runner(chips_file, device="mlu370-s5")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_loop_goes_to_the_host_and_is_reported(tmp_path, chip):
    text, file = tmp_path / "loop.tn", tmp_path / "loop.tenon"
    text.write_text(LOOP)
    report = json.loads(run("compile", text, "--target", chip, "-o", file, "--json").stdout)["targets"][0]
    assert report["compiled"] and report["kernels"] >= 2
    (node,) = [n for n in report["host"] if n["op"] == "while"]
    assert node["name"] == "steps/while" and node["reason"] and node["bytes"] > 0 and node["latency_ms"] > 0
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    runner = tenon.Runner(file, device=chip)
    np.testing.assert_allclose(runner.run(x)["out"], tenon.Runner(file).run(x)["out"], rtol=2e-2, atol=2e-2)
    assert any("steps/while" in n and "bytes cross" in n for n in runner.notices)


@pytest.mark.parametrize("chip", CHIPS)
def test_the_predicted_peak_of_each_memory_is_the_executed_one(chips_file, chip):
    runner = tenon.Runner(chips_file, device=chip)
    runner.run(IMAGES[:8])
    report = json.loads(run("inspect", chips_file, "--memory", "--target", chip, "--json").stdout)["targets"]
    program = [p for p in report[0]["programs"] if "[8," in p["inputs"]][0]
    executed = {k.split(".")[1]: v for k, v in runner.counters.items() if k.startswith("peak_bytes.")}
    assert program["memory"]["on_chip_bytes"] == executed and max(executed.values()) > 0
    assert program["peak_bytes"] == runner.counters["memory_bytes"]
    assert program["memory"]["ddr_bytes"] == sum(layer["ddr_bytes"] for layer in program["memory"]["layers"])


def test_a_damaged_section_is_an_error(chips_file):
    data = chips_file.read_bytes()
    at = data.index(b"mte2: copy", data.index(b"target=ascend310p3"))
    flipped = bytearray(data)
    flipped[at:at + 10] = b"mte2: cop?"
    with pytest.raises(tenon.Error, match="checksum"):
        tenon.Runner(bytes(flipped), device="ascend310p3")


def test_many_threads_share_a_runner_on_a_device(chips_file):
    runner = tenon.Runner(chips_file, device="mlu370-s4")
    expected = [list(runner.run(IMAGES[i:i + 1]).values())[0] for i in range(4)]
    wrong = []

    def work(i):
        for _ in range(3):
            if not np.array_equal(list(runner.run(IMAGES[i:i + 1]).values())[0], expected[i]):
                wrong.append(i)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


PLUGIN = """
#include "tenon/device.h"
{body}
"""


@pytest.mark.parametrize("body, message", [
    ("int nothing;", "no symbol 'tenon_device_plugin'"),
    ("const tenon_device_api* tenon_device_plugin(uint32_t v) { (void)v; return 0; }", "no table"),
    ("static tenon_device_api api; const tenon_device_api* tenon_device_plugin(uint32_t v) { (void)v; "
     "api.struct_size = sizeof api; api.abi_version = 77; return &api; }", "version 77"),
    ("static tenon_device_api api; const tenon_device_api* tenon_device_plugin(uint32_t v) { (void)v; "
     "api.struct_size = sizeof api; api.abi_version = 1; return &api; }", "other sizes"),
    ("const tenon_device_api* tenon_device_plugin(uint32_t v) { (void)v; *(volatile int*)8 = 1; return 0; }",
     "crashed"),
])
def test_bad_plugins_are_errors(tmp_path, body, message, chips_file):
    source, library = tmp_path / "bad.c", tmp_path / "libtenon_device_bad.so"
    source.write_text(PLUGIN.replace("{body}", body))
    subprocess.run(["gcc", "-shared", "-fPIC", "-I", ROOT / "include", "-o", library, source], check=True)
    assert message in run("device-test", library, status=1).stderr
    # It does no harm to the others, and is mentioned where its device might be meant.
    done = run("run", chips_file, "--device", "bad", status=1, TENON_DEVICE_PATH=str(tmp_path))
    assert message in done.stderr
    run("devices", TENON_DEVICE_PATH=str(tmp_path))


def test_a_cut_off_plugin_is_an_error(tmp_path):
    library = tmp_path / "libtenon_device_cut.so"
    library.write_bytes((BUILD / "lib/libtenon_device_null.so").read_bytes()[:100_000])
    assert "cut off" in run("device-test", library, status=1).stderr


def test_a_model_too_large_for_a_chip_is_refused_by_layer(tmp_path):
    text = tmp_path / "large.tn"
    text.write_text("graph @main (%x: f32[262144,65536]) {\n  %y = relu(%x) from \"big/Relu\"\n  return (%y)\n}\n")
    done = run("compile", text, "--target", "ascend310p3", "--no-verify", "-o", tmp_path / "out", status=3)
    assert "bytes: x, at layer 'big/Relu'" in done.stderr and not (tmp_path / "out").exists()


def test_the_c_interface_runs_on_a_device(chips_file, tmp_path):
    source, program = tmp_path / "run.cpp", tmp_path / "run"
    source.write_text("""#include <cstdio>
#include "tenon/runtime.hpp"
int main(int, char** argv) {
  tenon::api::Model model(argv[1]);
  const auto f = model.function_on("ascend310p3");
  std::vector<float> x(64, 0.5f);
  const std::vector<int64_t> dims{1, 8, 8, 1};
  f.run({tenon::api::view(x.data(), dims)});
  double seconds = 0;
  for (const auto& [name, value] : f.counters()) if (name == "seconds") seconds = value;
  std::printf("%s %d %zu\\n", f.device().c_str(), seconds > 0, f.notices().size());
  try { model.function_on("nothing"); } catch (const tenon::api::RuntimeError& e) { std::puts(e.what()); }
}
""")
    subprocess.run(["g++", "-std=c++17", "-I", ROOT / "include", source, "-o", program, "-L", BUILD / "lib",
                    "-ltenon_runtime", f"-Wl,-rpath,{BUILD / 'lib'}"], check=True)
    out = subprocess.run([program, chips_file], capture_output=True, text=True, check=True).stdout
    assert out.startswith("ascend310p3 1 1\n") and "there is no device 'nothing'" in out


def test_a_device_of_ones_own_needs_the_headers_and_the_runtime_alone(tmp_path):
    """examples/custom_device, built as docs/how_to_add_a_device.md says, outside of the checkout."""
    example = ROOT / "examples/custom_device"
    library = tmp_path / "libtenon_device_neighbour.so"
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-I",
                    ROOT / "include", example / "neighbour_device.cpp", "-o", library, "-L", BUILD / "lib", "-ltenon_runtime",
                    f"-Wl,-rpath,{BUILD / 'lib'}"], check=True, cwd=tmp_path)
    done = run("device-test", library, "--device", "neighbour", "--list", example / "neighbour.list", "--json")
    cases = json.loads(done.stdout)["cases"]
    assert len(cases) > 50 and [c for c in cases if not c["good"]] == []
    file = tmp_path / "digits.tenon"
    run("compile", DIGITS, "-o", file)
    np.save(tmp_path / "x.npy", IMAGES[:2])
    run("run", file, "--device", "neighbour", "--input", f"images={tmp_path}/x.npy", "--output-dir", tmp_path,
        TENON_DEVICE_PATH=str(tmp_path))
    expected = list(tenon.Runner(file).run(IMAGES[:2]).values())[0]
    np.testing.assert_allclose(np.load(tmp_path / "output_0.npy"), expected, atol=1e-6)


def test_a_chip_of_ones_own_is_one_file(tmp_path):
    """As docs/how_to_add_a_chip.md says: nothing is built, every command knows the chip."""
    text = (ROOT / "targets/ascend310p3.toml").read_text()
    chips = tmp_path / "chips"
    chips.mkdir()
    mine = chips / "ascend310p9.toml"
    mine.write_text(text.replace('name = "ascend310p3"', 'name = "ascend310p9"').replace("cube_cores = { value = 8", "cube_cores = { value = 12"))
    own = {"TENON_TARGETS_DIR": str(chips)}
    file = tmp_path / "m.tenon"
    run("compile", DIGITS, "--target", "ascend310p9", "--batch", "4", "-o", file, **own)
    assert "there is no chip" in run("compile", DIGITS, "--target", "ascend310p9", "-o", tmp_path / "x", status=2).stderr
    np.save(tmp_path / "x.npy", IMAGES[:4])
    given = ("run", file, "--device", "ascend310p9", "--input", f"images={tmp_path}/x.npy", "--output-dir", tmp_path)
    assert "compiled from" not in run(*given, **own).stderr
    expected = list(tenon.Runner(file).run(IMAGES[:4]).values())[0]
    np.testing.assert_allclose(np.load(tmp_path / "output_0.npy"), expected, atol=2e-3)
    mine.write_text(text.replace("cube_cores = { value = 8", "cube_cores = { value = 0"))
    for command in (given, ("predict", file, "--target", "ascend310p9")):
        assert "cube_cores = 0 cores is out of bounds" in run(*command, status=1, **own).stderr
    listed = run("devices", **own)
    assert "cpu " in listed.stdout and "out of bounds" in listed.stderr
