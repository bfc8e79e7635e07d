from tests.mutants import MODULES, PAGE, ROOT, row, without_decorators

DECORATED = '''
def twice(function):
    return lambda x: 2 * function(x)

def plus(n):
    return lambda function: lambda x: n + function(x)

@plus(1)
@twice
def same(
    x,
):
    """Unchanged."""
    return x

class Kept:
    @staticmethod
    @twice
    def same(x):
        return x
'''


def test_a_decorator_after_its_function_does_the_same():
    source = without_decorators(DECORATED)
    assert "same = plus(1)(twice(same))" in source
    assert source.count("@") == 2, "those of methods stay"
    found, expected = {}, {}
    exec(source, found)
    exec(DECORATED, expected)
    assert found["same"](5) == expected["same"](5) == 11
    assert found["Kept"].same(5) == 10


def test_each_module_has_its_tests_and_its_line_in_the_page():
    page = PAGE.read_text()
    for module, tests in MODULES.items():
        assert page.count(f"\n| {module} |") == 1
        assert all((ROOT / path).exists() for path in tests)


def test_the_score_by_hand():
    counts = {"killed": 6, "timeout": 1, "survived": 1, "total": 8}
    assert row("losses", counts) == "| losses | 8 | 7 | 1 | 87.5 % |"
