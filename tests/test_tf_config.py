"""TF_CONFIG: which cluster it describes, and that each mistake in it is one line."""

import json

import pytest

from graft.core.errors import GraftError
from graft.training.tf_config import Cluster, read_cluster

WORKERS = ["a:2222", "b:2222", "10.0.0.3:80"]


def config(cluster, job="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_workers_are_those_of_the_list_in_its_order(index):
    assert read_cluster(config({"worker": WORKERS}, index=index)) == Cluster(tuple(WORKERS), index)


def test_a_chief_comes_before_the_workers():
    cluster = {"worker": WORKERS, "chief": ["c:1"]}
    assert read_cluster(config(cluster, "chief")) == Cluster(("c:1", *WORKERS), 0)
    assert read_cluster(config(cluster, "worker", 1)) == Cluster(("c:1", *WORKERS), 2)


def test_an_address_may_be_one_of_ip_version_6():
    assert read_cluster(config({"worker": ["[::1]:2222", "[::1]:2223"]})).workers == ("[::1]:2222", "[::1]:2223")


@pytest.mark.parametrize("text", ["", " \n", config({"worker": ["a:2222"]}), config({"chief": ["a:1"]}, "chief")])
def test_without_another_worker_there_is_no_cluster(text):
    assert read_cluster(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("worker 0 of 2", r"not JSON \(Expecting value: line 1 column 1 \(char 0\)\)"),
        ("[" * 100_000, r"not JSON \("),
        ("[]", "no 'cluster'"),
        ('{"task": {"type": "worker", "index": 0}}', "no 'cluster'"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "no 'task'"),
        ('{"cluster": ["a:1"], "task": {}}', r"cluster is \['a:1'\]"),
        ('{"cluster": {}, "task": {}}', "cluster is {}"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": 0}', "task is 0"),
        (config({"worker": WORKERS, "ps": ["c:1"]}), "cluster has the job 'ps'; only chief and worker train"),
        (config({"worker": "a:1"}), "worker of the cluster is 'a:1', no list of addresses"),
        (config({"worker": []}), r"worker of the cluster is \[\], no list of addresses"),
        (config({"worker": ["a:1", 2]}), r"worker of the cluster is \['a:1', 2\], no list of addresses"),
        (config({"worker": ["a:1", "b"]}), "'b' is no address with a port"),
        (config({"worker": ["a:1", ":1"]}), "':1' is no address with a port"),
        (config({"worker": ["a:1", "b:port"]}), "'b:port' is no address with a port"),
        (config({"worker": ["a:1", "b:65536"]}), "'b:65536' is no address with a port"),
        (config({"worker": ["a:1", "b:0"]}), "'b:0' is no address with a port"),
        (config({"worker": ["a:1", "a:1"]}), "cluster has the address 'a:1' twice"),
        (config({"chief": ["a:1"], "worker": ["a:1"]}), "cluster has the address 'a:1' twice"),
        (config({"chief": ["a:1", "b:1"]}, "chief"), "cluster has 2 chiefs, not one"),
        (config({"worker": WORKERS}, "chief"), r"task type is 'chief'; cluster has \['worker'\]"),
        (config({"worker": WORKERS}, None), r"task type is None; cluster has \['worker'\]"),
        (config({"worker": WORKERS}, ["worker"]), r"task type is \['worker'\]; cluster has \['worker'\]"),
        (config({"worker": WORKERS}, index=3), "task index is 3; cluster has 3 of the type 'worker', counted from 0"),
        (config({"worker": WORKERS}, index=-1), "task index is -1; cluster has 3 of the type"),
        (config({"worker": WORKERS}, index="0"), "task index is '0'; cluster has 3 of the type"),
        (config({"worker": WORKERS}, index=True), "task index is True; cluster has 3 of the type"),
    ],
)
def test_a_mistake_is_one_line_that_shows_how_it_must_be(text, found):
    with pytest.raises(GraftError, match=f'^TF_CONFIG: {found}.*; it must be like {{"cluster": {{"worker": ') as caught:
        read_cluster(text)
    assert "\n" not in str(caught.value)
