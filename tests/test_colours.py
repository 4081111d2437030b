from siamjax.reports import colours


def test_the_three_of_the_origin_are_fixed_and_the_others_differ():
    names = ["delay", "normal", "blocked", "flood", "capacity_limit", "loss", "unknown"]
    colour_of = colours.assign_colours(names)
    assert colour_of["normal"] == colours.NORMAL
    assert colour_of["blocked"] == colours.BLOCKED
    assert colour_of["capacity_limit"] == colours.CAPACITY_LIMIT
    assert len(set(colour_of.values())) == len(names)


def test_a_picture_of_some_agrees_with_one_of_all():
    names = ["normal", "auth_failure", "delay", "packet_loss", "server_overload"]
    assert (
        colours.assign_colours(names).items()
        >= colours.assign_colours(names[2:]).items()
    )


def test_no_two_of_the_test_bed_look_alike():
    grey = (colours.GREY, colours.PALE)
    names = [name for name, (colour, _) in colours._FIXED.items() if colour not in grey]
    assert len(set(colours.assign_colours(names).values())) == len(names) == 12


def test_more_conditions_than_colours_still_have_one():
    colour_of = colours.assign_colours([f"fault {i}" for i in range(40)])
    assert all(
        len(value) == 7 and value.startswith("#") for value in colour_of.values()
    )


def test_novel_ones_are_diamonds():
    got = colours.assign_shapes(
        ["normal", "blocked", "delay", "mine"], ["delay", "mine"]
    )
    assert got == dict(
        normal="circle", blocked="square", delay="diamond", mine="diamond"
    )
