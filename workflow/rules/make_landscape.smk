rule make_landscape:
    output:
        tiles=directory("<results>/phantoms/{kind,landscape|scene}_seed{seed}"),
        truth=directory("<results>/phantoms/{kind}_seed{seed}_truth"),
        classes=directory("<results>/phantoms/{kind}_seed{seed}_classes"),
        radar=directory("<results>/phantoms/{kind}_seed{seed}_sar"),
    log:
        "<logs>/phantoms/{kind}_seed{seed}.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("make_phantom"),
        runtime=minutes("make_phantom"),
    params:
        kind="{kind}",
        seed="{seed}",
        tiles=phantom("tiles"),
        sizes=phantom("sizes"),
        pixel_size=phantom("pixel_size"),
        code=fingerprint("make_landscape"),
    message:
        "Making phantom {wildcards.kind} of seed {wildcards.seed}"
    script:
        "../../scripts/make_landscape.py"
