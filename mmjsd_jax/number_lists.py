"""Numbers as the command line lists them: '0:5' or '0.5,1,2.5'."""

MAX_NUMBERS = 1000


def parse_numbers(text: str) -> tuple[int | float, ...]:
  """'0:3' as (0, 1, 2), '0.5,1' as (0.5, 1), '' as ().

  Raises:
    ValueError: another text, the same number twice, or more than MAX_NUMBERS.
  """
  found: list[int | float] = []
  for part in text.split(',') if text else ():
    first, is_range, end = part.partition(':')
    if is_range:
      numbers = range(int(first), int(end))
      if not 0 < len(numbers) <= MAX_NUMBERS:
        raise ValueError(
          f'expected a range of 1 to {MAX_NUMBERS} numbers, got {part!r}'
        )
      found += numbers
    else:
      found.append(_number(first))
  if len(set(found)) < len(found) or len(found) > MAX_NUMBERS:
    raise ValueError(
      f'expected at most {MAX_NUMBERS} different numbers, got {text!r}'
    )
  return tuple(found)


def _number(text: str) -> int | float:
  try:
    return int(text)
  except ValueError:
    return float(text)
