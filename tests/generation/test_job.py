from holdfast.generation.job import Job
from holdfast.names import from_names
from holdfast.settings import ImageSettings


def job(counts, seed=0, batch_size=3):
    prompts = [["a cat.", "one cat."], ["a dog."]]
    settings = ImageSettings(batch_size=batch_size)
    return Job(from_names(["cat", "dog"]), prompts, counts, settings, seed)


def test_prompts_of_a_class_take_turns():
    assert [job([3, 1]).prompt((0, n)) for n in range(3)] == ["a cat.", "one cat.", "a cat."]


def test_first_images_of_all_classes_come_first_and_generators_take_turns():
    assert job([3, 1]).batches(0, 1) == [[(0, 0), (1, 0), (0, 1)], [(0, 2)]]
    assert job([3, 1]).batches(0, 2) == [[(0, 0), (1, 0), (0, 2)]]
    assert job([3, 1]).batches(1, 2) == [[(0, 1)]]


def test_a_seed_depends_on_the_run_the_class_the_index_and_the_attempt_alone():
    seed = job([3, 1]).image_seed((0, 1), 0)
    assert seed == job([9, 9], batch_size=1).image_seed((0, 1), 0)
    others = [((0, 2), 0, 0), ((1, 1), 0, 0), ((0, 1), 1, 0), ((0, 1), 0, 1)]
    seeds = {job([3, 1], seed=s).image_seed(place, attempt) for place, attempt, s in others}
    assert len(seeds | {seed}) == 5
