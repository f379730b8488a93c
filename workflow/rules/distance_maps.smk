"""Stage distance_maps: Eq. 14 on scribbles, Eq. 16 on pseudo-labels, one file for each λ.

From a label store into results/<dataset>/distance_maps/…/exponent-<λ>.h5.
"""


rule distance_maps_scribbles:
    input:
        PATHS.scribble_labels("{scribbles}"),
    output:
        PATHS.scribble_distances("{scribbles}", "{exponent}"),
    log:
        PATHS.log("distance_maps/scribbles/{scribbles}/exponent-{exponent}"),
    benchmark:
        PATHS.benchmark("distance_maps/scribbles/{scribbles}/exponent-{exponent}")
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(1000),
        runtime=grows(15),
    params:
        version=version("distance_maps"),
    shell:
        "cdsp distance_maps {input} --exponent {wildcards.exponent} --output {output} > {log} 2>&1"


rule distance_maps_pseudo_labels:
    input:
        PATHS.pseudo_labels("{scribbles}", "{recipe}"),
    output:
        PATHS.pseudo_label_distances("{scribbles}", "{recipe}", "{exponent}"),
    log:
        PATHS.log(
            "distance_maps/pseudo_labels/{scribbles}/{recipe}/exponent-{exponent}"
        ),
    benchmark:
        PATHS.benchmark(
            "distance_maps/pseudo_labels/{scribbles}/{recipe}/exponent-{exponent}"
        )
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    resources:
        mem_mb=grows(1000),
        runtime=grows(15),
    params:
        version=version("distance_maps"),
    shell:
        "cdsp distance_maps {input} --exponent {wildcards.exponent} --output {output} > {log} 2>&1"
