"""Why a task is not running."""

from mainspring.api.door import Door
from mainspring.api.http import Answer, Call, json_answer
from mainspring.api.tasks import task_id
from mainspring.wire.explain import explanation_view


async def explain(door: Door, call: Call) -> Answer:
    found = await door.scheduler.explaining.explain(task_id(call))
    return json_answer(explanation_view(found.task, found.now_us, found.claimable, found.reasons))
