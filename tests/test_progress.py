from holdfast.progress import hidden, progress


def test_a_log_gets_one_line_at_the_end(capsys):
    with progress("drawing images", 10, done=4) as advance:
        for amount in (1, 2, 3):
            advance(amount)
        assert capsys.readouterr().err == ""
    out, err = capsys.readouterr()
    assert out == ""  # results go there
    [line] = err.strip().splitlines()
    assert line.startswith("drawing images") and "10/10" in line


def test_what_stops_halfway_shows_how_far_it_was(capsys):
    try:
        with progress("training", 10) as advance:
            advance(3)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "3/10" in capsys.readouterr().err


def test_bars_can_be_hidden(capsys):
    with hidden(), progress("training", 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
    with progress("training", 10) as advance:
        advance(10)
    assert "10/10" in capsys.readouterr().err
