"""`genau eval mmad` and `genau eval visa-dr`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genau.cli import answerers as who
from genau.cli.terminal import EXIT_SOME_FAILED, Device, progress, say
from genau.errors import UsageError

if TYPE_CHECKING:
    from genau.dialogue import Answerer
    from genau.evaluation.dialogue.items import Chain
    from genau.evaluation.dialogue.marks import Mark
    from genau.evaluation.dialogue.record import Record

# The longest sides of the benchmarks' own scripts, in pixels, and how long an answer may be.
MMAD_SIDE, MMAD_TOKENS = 512, 200
VISA_DR_SIDE, VISA_DR_TOKENS = 1024, 1024

Data = Annotated[Path, typer.Option(help="The benchmark's folder.")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Run folder; answers in it are not asked for again.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many questions, drawn evenly; for a first look.")]
Seed = Annotated[int, typer.Option(help="Draws the subset of --limit.")]
Retry = Annotated[bool, typer.Option("--retry-unreadable", help="Ask again what was refused, cut off or empty.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nothing.")]
PriceIn = Annotated[float | None, typer.Option(min=0, help="Price of a million tokens in, for the estimate.")]
PriceOut = Annotated[float | None, typer.Option(min=0, help="Price of a million tokens out.")]


def mmad(
    data: Data,
    output: Out,
    model: who.ModelName = None,
    base: who.Base = None,
    endpoint: who.EndpointUrl = None,
    api_key_env: who.KeyVariable = None,
    shots: Annotated[int, typer.Option(min=0, help="Good parts shown before each picture.")] = 1,
    templates: Annotated[str, typer.Option(help="Which good parts: random or similar.")] = "random",
    domain_knowledge: Annotated[bool, typer.Option("--domain-knowledge", help="Tell what defects look like.")] = False,
    shuffle_options: Annotated[int | None, typer.Option(help="Order the options anew by this seed.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    task: Annotated[str | None, typer.Option(help="Only these subtasks, separated by commas.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    read: who.Read = "letter",
    dtype: who.Dtype = "float32",
    max_tokens: who.MaxTokens = None,
    longest_side: who.LongestSide = None,
    detail: who.Detail = "low",
    temperature: who.Temperature = "0",
    limit_name: who.LimitName = "max_tokens",
    workers: who.Workers = 4,
    timeout: who.Timeout = 120,
    attempts: who.Attempts = 6,
    retry_unreadable: Retry = False,
    dry_run: DryRun = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    device: Device = "cpu",
) -> None:
    """Ask MMAD's multiple-choice questions; accuracy per subtask and data set, beside chance and a constant answer."""
    from genau.evaluation.dialogue import mmad as benchmark
    from genau.evaluation.dialogue import mmad_scores, outputs
    from genau.evaluation.dialogue.items import subset

    size = who.side(longest_side, MMAD_SIDE, endpoint=endpoint is not None)
    chosen = who.Choice(
        model, base, endpoint, api_key_env, read, dtype, max_tokens or MMAD_TOKENS, size, detail, temperature,
        limit_name, workers, timeout, attempts,
    )  # fmt: skip
    if templates not in {"random", "similar"}:
        raise UsageError(f"--templates {templates!r} is not one of random, similar.")
    setting = benchmark.Setting(shots, templates, domain_knowledge, shuffle_options, _names(dataset), _names(task))  # type: ignore[arg-type]
    who.refuse_inside(output, data)
    chains = subset(benchmark.read(data, setting), limit, seed)
    run = _Run(chosen, output, chains, retry_unreadable, dry_run, price_in, price_out)
    marks = run.ask(chosen.load(device))
    if marks is None:
        return
    about = run.about("mmad") | {"shots": shots, "templates": templates, "domain_knowledge": domain_knowledge}
    cells = mmad_scores.score(marks)
    about |= {"shuffle_options": shuffle_options, "limit": limit, "seed": seed}
    outputs.write_mmad(output, about, marks, cells, mmad_scores.detection(marks))
    typer.echo(outputs.mmad_table(cells))
    run.end(marks)


def visa_dr(
    data: Data,
    output: Out,
    detection: Annotated[Path | None, typer.Option(help="File of pictures to call good or bad.")] = None,
    reasoning: Annotated[Path | None, typer.Option(help="File of conversations with references.")] = None,
    model: who.ModelName = None,
    base: who.Base = None,
    endpoint: who.EndpointUrl = None,
    api_key_env: who.KeyVariable = None,
    classes: Annotated[str | None, typer.Option("--class", help="Only these, separated by commas.")] = None,
    similarity: Annotated[str | None, typer.Option(help="Sentence model for the cosine: a folder or hub name.")] = None,
    judge: Annotated[str | None, typer.Option(help="Model on --judge-endpoint that gives points.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="The judge's server, if not --endpoint.")] = None,
    judge_key_env: Annotated[str | None, typer.Option(help="The judge's key, if not --api-key-env.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    read: who.Read = "letter",
    dtype: who.Dtype = "float32",
    max_tokens: who.MaxTokens = None,
    longest_side: who.LongestSide = None,
    detail: who.Detail = "high",
    temperature: who.Temperature = "0",
    limit_name: who.LimitName = "max_tokens",
    workers: who.Workers = 4,
    timeout: who.Timeout = 120,
    attempts: who.Attempts = 6,
    retry_unreadable: Retry = False,
    dry_run: DryRun = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    device: Device = "cpu",
) -> None:
    """Ask VisA-D&R: is there a defect (accuracy, precision, recall, F1), and answers in words (ROUGE-L)."""
    from genau.evaluation.dialogue import outputs, visa_dr_scores
    from genau.evaluation.dialogue import visa_dr as benchmark
    from genau.evaluation.dialogue.items import subset

    size = who.side(longest_side, VISA_DR_SIDE, endpoint=endpoint is not None)
    chosen = who.Choice(
        model, base, endpoint, api_key_env, read, dtype, max_tokens or VISA_DR_TOKENS, size, detail, temperature,
        limit_name, workers, timeout, attempts,
    )  # fmt: skip
    judging = _judge(chosen, judge, judge_endpoint, judge_key_env, reasoning)
    who.refuse_inside(output, data)
    files = benchmark.read(data, detection, reasoning, _names(classes))
    chains = [chain for part in files for chain in subset(part, limit, seed)]
    run = _Run(chosen, output, chains, retry_unreadable, dry_run, price_in, price_out, judging)
    measures: dict[str, Sequence[float | None]] = {}
    marks = run.ask(chosen.load(device), measures, similarity)
    if marks is None:
        return
    held, scores = visa_dr_scores.score(marks, measures)
    about = run.about("visa-dr") | {"limit": limit, "seed": seed, "similarity": similarity}
    outputs.write_visa_dr(output, about | visa_dr_scores.counts(marks), marks, held, scores)
    typer.echo(outputs.visa_dr_table(held, scores))
    run.end(marks)


class _Run:
    """What both verbs do between reading and measuring."""

    def __init__(
        self,
        choice: who.Choice,
        output: Path,
        chains: "Sequence[Chain]",
        retry_unreadable: bool,
        dry_run: bool,
        price_in: float | None,
        price_out: float | None,
        judging: "Answerer | None" = None,
    ) -> None:
        self.choice, self.output, self.chains, self.judging = choice, output, chains, judging
        self.retry_unreadable, self.dry_run = retry_unreadable, dry_run
        self.prices = price_in, price_out
        self.model: dict[str, Any] = {}

    def ask(
        self,
        answerer: "Answerer",
        measures: dict[str, Sequence[float | None]] | None = None,
        similarity: str | None = None,
    ) -> "list[Mark] | None":
        """Ask what is open and return all marks, or None where only the estimate was asked for.

        `measures` is filled with the further measures of answers in words.
        """
        from genau.evaluation.dialogue.asking import ask_all, unanswered
        from genau.evaluation.dialogue.cost import estimate
        from genau.evaluation.dialogue.marks import mark
        from genau.evaluation.dialogue.record import opened

        self.model = {"model": answerer.name, "settings": dict(answerer.settings)}
        with opened(self.output, retry_unreadable=self.retry_unreadable) as record:
            open_ones = unanswered(answerer, self.chains, record)
            total = sum(map(len, self.chains))
            say(f"{total - sum(map(len, open_ones))} of {total} questions are answered already.")
            if self.choice.endpoint is not None or self.dry_run:
                cost = estimate(open_ones, self.choice.longest_side, self.choice.max_tokens)
                say(cost.words(*self.prices))
            if self.dry_run:
                return None
            with progress(total, "Asking") as step:
                marks = mark(ask_all(answerer, self.chains, record, step))
            if measures is not None:
                self._measure(marks, measures, similarity, record)
        return marks

    def _measure(
        self,
        marks: "Sequence[Mark]",
        measures: dict[str, Sequence[float | None]],
        similarity: str | None,
        record: "Record",
    ) -> None:
        told = [one for one in marks if not one.item.prompt.options]
        if similarity is not None and told:
            from genau.evaluation.dialogue.similarity import SentenceModel

            cosines = SentenceModel.from_pretrained(similarity).cosines(
                [one.text or "" for one in told], [one.item.expected for one in told]
            )
            measures["cosine"] = [
                cosine if one.text is not None else 0.0 for one, cosine in zip(told, cosines, strict=True)
            ]
        if self.judging is not None and told:
            from genau.evaluation.dialogue.judge import judge

            with progress(len(told), "Judging") as step:
                measures["judge"] = judge(self.judging, told, record, step)

    def about(self, benchmark: str) -> dict[str, Any]:
        """Return what `metrics.json` says of the run."""
        judging = None if self.judging is None else {"model": self.judging.name, **self.judging.settings}
        command = shlex.join(["genau", *sys.argv[1:]])
        return {"benchmark": benchmark, **self.model, "judge": judging, "command": command}

    def end(self, marks: "Sequence[Mark]") -> None:
        """Say where the answers lie, and leave with 3 where some did not come."""
        from genau.dialogue import Outcome

        say(f"Every question and answer: {self.output / 'questions.jsonl'}")
        if failed := sum(one.outcome is Outcome.FAILED for one in marks):
            say(f"Questions that got no answer: {failed}. Repeat the command to ask them again.")
            raise typer.Exit(EXIT_SOME_FAILED)


def _judge(
    choice: who.Choice, name: str | None, endpoint: str | None, variable: str | None, reasoning: Path | None
) -> "Answerer | None":
    """Return the judge, if one is named.

    Raises:
        UsageError: there is nothing to judge, or nowhere to ask.
    """
    from dataclasses import replace

    if name is None:
        if endpoint is not None or variable is not None:
            raise UsageError("--judge-endpoint and --judge-key-env belong to --judge, which names the model. Give it.")
        return None
    url = endpoint or choice.endpoint
    if url is None or reasoning is None:
        raise UsageError("--judge needs a server (--judge-endpoint) and answers to judge (--reasoning FILE).")
    key = variable if endpoint is not None else variable or choice.key_variable
    return replace(choice, endpoint=url, base=None, model=name, key_variable=key).at_endpoint(url, name)


def _names(words: str | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(word.strip() for word in words.split(",") if word.strip())
