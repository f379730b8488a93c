"""Stage distance_maps: Eq. 14 on scribbles, Eq. 16 on pseudo-labels, one file for each λ.

From a label store into results/<dataset>/distance_maps/…/exponent-<λ>.h5.
"""


rule distance_maps_scribbles:
    input:
        rules.scribbles_degrade.output.labels,
    output:
        f"{STAGES}/distance_maps/scribbles/{{scribbles}}/exponent-{{exponent}}.h5",
    log:
        f"{STAGES}/logs/distance_maps/scribbles/{{scribbles}}/exponent-{{exponent}}.log",
    benchmark:
        f"{STAGES}/benchmarks/distance_maps/scribbles/{{scribbles}}/exponent-{{exponent}}.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    shell:
        "cdsp distance_maps {input} --exponent {wildcards.exponent} --output {output} > {log} 2>&1"


rule distance_maps_pseudo_labels:
    input:
        f"{RECIPE}/labels.h5",
    output:
        f"{STAGES}/distance_maps/pseudo_labels/{{scribbles}}/{{recipe}}/exponent-{{exponent}}.h5",
    log:
        f"{STAGES}/logs/distance_maps/pseudo_labels/{{scribbles}}/{{recipe}}/exponent-{{exponent}}.log",
    benchmark:
        f"{STAGES}/benchmarks/distance_maps/pseudo_labels/{{scribbles}}/{{recipe}}/exponent-{{exponent}}.tsv"
    conda:
        "../../envs/cdsp.yaml"
    threads: real_cores(1)
    shell:
        "cdsp distance_maps {input} --exponent {wildcards.exponent} --output {output} > {log} 2>&1"
