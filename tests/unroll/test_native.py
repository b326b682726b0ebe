"""The native loop equals `jax.lax.scan`: all cells, any number of threads, bodies drawn at random."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from nlstm_jax.cells import LSTM, nested_lstm
from nlstm_jax.unroll import unroll
from nlstm_jax.unroll.native import CompilerError, UnsupportedError, library, scan
from nlstm_jax.unroll.native import __main__ as native_main

T, B, D = 5, 6, 3
CORE = {"nested_3_add", "gru", "lstm_options"}


@pytest.fixture(autouse=True, scope="module")
def _compiler():
    try:
        library.find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch):
    monkeypatch.delenv(library.SWITCH, raising=False)


def value_and_gradients(layer, mode, dtype=jnp.float32):
    """Return the outputs, the last carry and all gradients of a run with lengths, resets and noise."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), layer.init(keys[0], D))
    xs = jax.random.normal(keys[1], (T, B, D), dtype)
    carry = jax.tree.map(lambda leaf: 0.5 * jax.random.normal(keys[2], leaf.shape, dtype), layer.initial_carry((B,)))
    lengths = jnp.array([5, 0, 1, 3, 5, 4])
    resets = jnp.zeros((T, B), bool).at[2, 3].set(True)

    def run(params, xs, carry):
        last, ys = unroll(layer, params, xs, carry, lengths=lengths, resets=resets, key=keys[3], mode=mode)
        weights = jnp.cos(jnp.arange(ys.size, dtype=dtype)).reshape(ys.shape)
        return (ys * weights).sum() + sum(leaf.sum() for leaf in jax.tree.leaves(last)), (last, ys)

    gradient = jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True)
    (_, outputs), gradients = jax.jit(gradient)(params, xs, carry)
    return outputs, gradients


def assert_all_close(expected, found, tolerance):
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        scale = max(1e-3, float(np.abs(one).max(initial=0)))
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale)


@zoo.parametrize(default=CORE)
def test_every_cell_runs_natively_and_equals_the_scan(name):
    layer = zoo.build(name)
    # The gradient of a cast to bfloat16, which that cell has, is rounded at every step of the scan.
    expected = value_and_gradients(layer, "fused" if name == "own" else "scan")
    assert_all_close(expected, value_and_gradients(layer, "native"), 3e-5)


@zoo.parametrize(default=[])
def test_in_float64_every_cell_equals_the_scan_to_rounding(name):
    with jax.enable_x64(True):
        layer = zoo.build(name, jnp.float64)
        expected = value_and_gradients(layer, "fused", jnp.float64)
        assert_all_close(expected, value_and_gradients(layer, "native", jnp.float64), 1e-11)


class Sorted(LSTM):
    """An LSTM with a sorted memory, an operation that the native loop lacks."""

    def step(self, params, carry, z, noise):
        carry, y = super().step(params, carry, z, noise)
        return carry._replace(c=jnp.sort(carry.c, axis=-1)), y


def test_an_operation_that_it_lacks_is_refused_by_name():
    with pytest.raises(UnsupportedError, match=r"mode='native': .* found the operation sort"):
        value_and_gradients(Sorted(4), "native")


def run_body(body, parts, carry, xs, reverse=False):
    return jax.jit(lambda carry, xs: scan(body, carry, xs, xs.shape[0], reverse, parts=parts))(carry, xs)


def random_body(seed, rows, width):
    """Return a body of random operations on elements around random matmuls, in float32."""
    random = np.random.default_rng(seed)
    weights = [jnp.asarray(random.normal(size=(width, width)) / np.sqrt(width), jnp.float32) for _ in range(2)]
    column = jnp.asarray(random.normal(size=width), jnp.float32)
    unary = [jnp.tanh, jax.nn.sigmoid, jnp.sin, jnp.square, jnp.abs, jnp.negative, jax.nn.relu, jnp.sign, jnp.floor]
    binary = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, jnp.minimum, lambda x, y: x / (1 + jnp.square(y))]
    plan = [(random.integers(9), *random.integers(0, 10**6, size=3)) for _ in range(random.integers(3, 15))]

    def body(carry, x):
        values = [*carry, x]
        for kind, first, second, choice in plan:
            a, b = values[first % len(values)], values[second % len(values)]
            match kind:
                case 0 | 1:
                    made = jnp.tanh(a @ weights[choice % 2] + b)
                case 2:
                    made = a * column + jnp.sum(b, axis=-1, keepdims=True) / width
                case 3:
                    left, right = jnp.split(jnp.concatenate([a, b], -1), 2, -1)
                    made = right - 0.5 * left
                case 4:
                    made = jnp.where(a > b, a, 0.25 * b)
                case 5 | 6:
                    made = unary[choice % len(unary)](a)
                case _:
                    made = binary[choice % len(binary)](a, b)
            values.append(jnp.clip(made, -3.0, 3.0))
        return (values[-1], 0.5 * carry[0] + jnp.tanh(values[-2])), (values[-1], values[len(values) // 2])

    carry = tuple(jnp.asarray(random.normal(size=(rows, width)), jnp.float32) for _ in range(2))
    return body, carry, jnp.asarray(random.normal(size=(4, rows, width)), jnp.float32)


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 300), marks=pytest.mark.slow)], ids=str)
def test_bodies_drawn_at_random_equal_the_scan(seeds):
    for seed in seeds:
        body, carry, xs = random_body(seed, rows=5, width=int(seed % 21) + 1)
        expected = jax.jit(lambda carry, xs, body=body: jax.lax.scan(body, carry, xs))(carry, xs)
        found = run_body(body, 2, carry, xs)
        for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            # An element at a jump of sign, floor or a comparison may round to either side.
            far = np.abs(np.asarray(one) - np.asarray(other)) > 1e-4
            assert far.mean() <= 0.02, f"body {seed}"


@pytest.mark.parametrize(("rows", "width"), [(37, 40), (8, 17), (129, 5)])
def test_the_number_of_threads_changes_no_bit(rows, width):
    body, carry, xs = random_body(3, rows, width)
    one = run_body(body, 1, carry, xs, reverse=True)
    for parts in (2, 4, rows):
        for expected, found in zip(
            jax.tree.leaves(one), jax.tree.leaves(run_body(body, parts, carry, xs, reverse=True)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_second_derivatives_and_vmap_equal_those_of_the_scan():
    cell = LSTM(2)
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (3, T, B, D))

    def loss(scale, xs, mode):
        return jnp.square(unroll(cell, params, scale * xs, mode=mode)[1]).sum()

    for mode in ("scan", "native"):
        curvature = jax.vmap(jax.grad(jax.grad(loss)), (None, 0, None))
        if mode == "scan":
            expected = curvature(0.7, xs, mode)
        else:
            np.testing.assert_allclose(curvature(0.7, xs, mode), expected, rtol=1e-4)


def test_a_nan_stays_in_its_row():
    cell = nested_lstm(3, 2)
    params = cell.init(jax.random.key(0), D)
    xs = jnp.ones((T, B, D)).at[2, 1, 0].set(jnp.nan)
    _, ys = unroll(cell, params, xs, mode="native")
    is_nan = np.isnan(np.asarray(ys)).any(-1)
    np.testing.assert_array_equal(is_nan, np.isnan(np.asarray(unroll(cell, params, xs, mode="scan")[1])).any(-1))


# The compiled library.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return library.cache_folder()


def test_a_missing_compiler_is_one_line(cache, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerError, match=r"^unroll: mode='native': no C\+\+ compiler found \(tried no-such"):
        library.build()


def test_a_variable_switches_it_off(monkeypatch):
    assert library.load_library().exists()
    assert library.is_compiled()
    monkeypatch.setenv(library.SWITCH, "0")
    assert not library.is_compiled()
    with pytest.raises(CompilerError, match=r"^unroll: mode='native': switched off by NLSTM_JAX_NATIVE=0$"):
        library.load_library()


@pytest.mark.parametrize("script", ["echo 'fatal error: out of luck' >&2; exit 1", "kill -9 $$"])
def test_a_compiler_that_fails_or_is_killed_leaves_no_library(cache, monkeypatch, tmp_path, script):
    compiler = tmp_path / "cxx"
    compiler.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit 0\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompilerError, match="cxx failed: "):
        library.build()
    assert [path.name for path in cache.iterdir()] == ["lock"]


@pytest.mark.parametrize("mode", [stat.S_IWGRP, stat.S_IWOTH])
def test_a_folder_that_others_can_write_to_is_refused(cache, mode):
    cache.mkdir(parents=True)
    cache.chmod(0o700 | mode)
    with pytest.raises(CompilerError, match="owned by or writable for other users"):
        library.build()


def test_a_library_that_others_could_have_written_is_not_loaded(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    path = library._path(library.find_compiler())
    path.write_bytes(b"")
    path.chmod(0o720)
    with pytest.raises(CompilerError, match=r"loop-\w+\.so: owned by or writable for other users"):
        library.build()
    assert not library.is_compiled()
    path.chmod(0o700)
    assert library.is_compiled()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(CompilerError, match="native: owned by or writable for other users"):
        library.build()
    assert not library.is_compiled()


def test_a_cache_that_is_no_folder_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CompilerError, match="file/nlstm_jax/native: Not a directory"):
        library.build()


def test_the_command_that_compiles_says_in_one_line_why_it_cannot(cache, monkeypatch, capsys):
    monkeypatch.setattr(library, "_load", library.build)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native_main.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no C++ compiler found (tried no-such-compiler" in line


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_compiles_leaves_a_cache_that_serves(cache, tmp_path):
    slow_compiler = tmp_path / "cxx"
    slow_compiler.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\nexec sleep 200\n")
    slow_compiler.chmod(0o755)
    code = "from nlstm_jax.unroll.native import library; library.build()"
    variables = {"CXX": str(slow_compiler), "XDG_CACHE_HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | variables, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(cache.glob("*.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    os.killpg(process.pid, signal.SIGKILL)
    assert library.build().exists()
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".so"]


@pytest.mark.slow
def test_a_library_serves_where_new_files_are_writable_for_the_group(cache):
    previous = os.umask(0o002)
    try:
        assert library.build() == library.build()
    finally:
        os.umask(previous)


def _build(folder, results):
    os.environ["XDG_CACHE_HOME"] = folder
    results.put(str(library.build()))


@pytest.mark.slow
def test_two_processes_that_compile_at_once_share_one_library(cache, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_build, args=(str(tmp_path), results)) for _ in range(2)]
    for process in processes:
        process.start()
    paths = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(paths) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".so"]
