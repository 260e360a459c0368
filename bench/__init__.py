"""Benchmarks, the soak and the demo: `python -m bench`, run from the root of the project.

Every figure stands beside a floor measured in the same run, because the machine is shared and noisy: the
ratio is what can be compared from day to day, the microseconds are not. Nothing here is installed or
imported by the four packages.

    __main__, plan, run    which scenarios there are, what each should reach; scenarios/ has one file per kind of load
    rows, table, picture   what comes out: JSON, tables, a picture
    floors, raw_onnxruntime, echo_server
                           what the work costs with no server around it
    load_generator, open_loop, http1_generator
                           load, each a process of its own on the standard library alone; http2_*, grpc_status and
                           message_file are what they are made of
    closed_load, open_load those processes started, and their results read
    processes, process_figures
                           servers started and stopped, their CPU time and memory
    models, samples, photographs, publishing
                           what is served and what is sent
    mosec_peer, mosec_worker
                           another server, to compare with
    soak, soak_picture     `make soak`
    demo, callers, sheet   `make demo`
"""
