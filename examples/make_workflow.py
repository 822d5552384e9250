"""Writes `workflow.json`: a word count over generated text, as a workflow of small shell commands.

    prepare ─► generate ─► sort ─► count ─► merge in pairs ─► statistics ─► report ─► verify ─► clean
       1          12        12       12      6 + 3 + 1 + 1         6           1         1        1

    python examples/make_workflow.py > examples/workflow.json

Every command reads the files of its parents and writes one of its own, so the workflow only ends well if
the scheduler keeps the order. The words follow from a formula: this script works the report out as well, and
`verify` compares it with what the commands made.
"""

import json
import sys
from collections import Counter

TEXTS = 12
WORDS_A_TEXT = 3000
VOCABULARY = 400
FOLDER = "wordcount"

Task = dict[str, object]


def word(text: int, place: int) -> str:
    """The same formula as in `generate`."""
    return f"w{(place * place + 37 * text * place + 11 * text) % VOCABULARY}"


def task(ref: str, shell: str, *parents: str) -> Task:
    return {"ref": ref, "name": ref, "command": shell, "depends_on": list(parents), "queue": "words"}


def command(ref: str, shell: str, *parents: str) -> Task:
    return task(ref, f"cd {FOLDER} && {shell}", *parents)


def texts() -> list[Task]:
    """Generate, sort and count: three steps for each text, all texts side by side."""
    formula = f'"w" (p * p + 37 * t * p + 11 * t) % {VOCABULARY}'
    tasks = []
    for text in range(TEXTS):
        program = f"BEGIN {{ for (p = 0; p < {WORDS_A_TEXT}; p++) print {formula} }}"
        tasks += [
            command(f"generate-{text}", f"awk -v t={text} '{program}' > {text}.txt", "prepare"),
            command(f"sort-{text}", f"LC_ALL=C sort {text}.txt > {text}.sorted", f"generate-{text}"),
            command(
                f"count-{text}",
                f"uniq -c {text}.sorted | awk '{{ print $2, $1 }}' > count-{text}.counts",
                f"sort-{text}",
            ),
        ]
    return tasks


def merges() -> tuple[list[Task], str]:
    """Add the counts up in pairs until one table is left; also the name of the last merge."""
    add = "awk '{ n[$1] += $2 } END { for (w in n) print w, n[w] }'"
    tasks, level, left = [], 1, [f"count-{text}" for text in range(TEXTS)]
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        merged = [f"merge-{level}-{n}" for n in range(len(pairs))]
        for ref, (one, other) in zip(merged, pairs, strict=True):
            tasks.append(command(ref, f"{add} {one}.counts {other}.counts > {ref}.counts", one, other))
        left = merged + left[2 * len(pairs) :]
        level += 1
    return tasks, left[0]


def statistics(table: str) -> list[Task]:
    """Six questions to the table of counts, then the report."""
    by_count = f"LC_ALL=C sort -k2,2nr -k1,1 {table}.counts"
    questions = {
        "words": f"awk '{{ n += $2 }} END {{ print \"words\", n }}' {table}.counts",
        "different": f"awk 'END {{ print \"different\", NR }}' {table}.counts",
        "most": f"{by_count} | head -n 3 | sed 's/^/most /'",
        "fewest": f"{by_count} | tail -n 1 | sed 's/^/fewest /'",
        "rare": f"awk '$2 < 50 {{ n++ }} END {{ print \"rare\", n + 0 }}' {table}.counts",
        "letters": f"awk '{{ n += length($1) * $2 }} END {{ print \"letters\", n }}' {table}.counts",
    }
    asked = [command(name, f"{shell} > {name}.answer", table) for name, shell in questions.items()]
    answers = " ".join(f"{name}.answer" for name in questions)
    return [*asked, command("report", f"cat {answers} | tee report.txt", *questions)]


def expected() -> str:
    """The report, worked out here."""
    counts = Counter(word(text, place) for text in range(TEXTS) for place in range(WORDS_A_TEXT))
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    lines = [
        f"words {counts.total()}",
        f"different {len(counts)}",
        *(f"most {name} {count}" for name, count in ranked[:3]),
        "fewest {} {}".format(*ranked[-1]),
        f"rare {sum(count < 50 for count in counts.values())}",
        f"letters {sum(len(name) * count for name, count in counts.items())}",
    ]
    return "".join(line + "\n" for line in lines)


def workflow() -> list[Task]:
    merge_tasks, table = merges()
    lines = " ".join(f"'{line}'" for line in expected().splitlines())
    return [
        task("prepare", f"mkdir -p {FOLDER}"),
        *texts(),
        *merge_tasks,
        *statistics(table),
        command("verify", f"printf '%s\\n' {lines} | cmp - report.txt", "report"),
        task("clean", f"rm -rf {FOLDER}", "verify"),
    ]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(entry) for entry in workflow())
    sys.stdout.write(f"[\n{lines}\n]\n")
