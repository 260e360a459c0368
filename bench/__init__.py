"""Benchmarks, the soak and the demo: `python -m bench`, run from the root of the project.

Every figure stands beside a floor measured in the same run, because the machine is shared and noisy: the
ratio is what can be compared from day to day, the microseconds are not. Nothing here is installed or
imported by the four packages.

    __main__, plan, run    which scenarios there are, what each should reach; scenarios/ has one file per kind of load
    rows, table, picture   what comes out: JSON, tables, a picture
    floors, raw_onnxruntime, echo_server
                           what the work costs with no server around it
    load, sdk_load         loads: covey_load's generator processes, and the SDK in a process of its own
    processes, edges       servers and edges started and stopped, their CPU time and memory
    models, samples, photographs, publishing
                           what is served and what is sent
    mosec_peer, mosec_worker
                           another server, to compare with
    soak, stream_soak, memory_curve
                           `make soak`, and a million images through one call
    attacks, raw_http2     `python -m bench.attacks`, and a connection that minds no rules
    similar                `python -m bench.similar`: what embeddings find, and what an index of many images costs
    batch, batch_loop      `python -m bench.batch`: `covey batch` against a hand-written loop
    lifecycle              `python -m bench.lifecycle`: a model captured, labelled, trained again and promoted
    scale                  `python -m bench.scale`: many clients before many servers, simulated
    trace                  `python -m bench.trace`: one call as a collector of traces receives it
    principals             `python -m bench.principals`: one principal floods, another one's latency
    demo, callers, sheet   `make demo`
"""
