"""The command line: declares, never works.

A room for each command:

    convert      slower                            fps          another rate
    between      between two stills                preview      one pair on a sheet
    info         what a file holds                 compare      before and after
    doctor       what works here                   bench        how fast
    train        a network from one's own video    evaluate     ``slomo eval``: how near the truth
    weights      released networks, and others     completion   for shells

And what they share:

    main         the group, signals, exit codes    help         how commands and options look
    options      options of several commands       types        kinds of value they take
    jobs         which input becomes which file    files        may it be read, written, replaced?
    batch        one conversion after another      plan         ``--dry-run`` in words
    streams      stdin, stdout and tables          versions     the lines of ``--version``

``slomo convert in.mp4`` comes from ``main.main`` by ``main.cli``, the group, and ``convert.command``, its options, to
``batch.run``, which sees what may be read, written and replaced, and hands each file to ``pipeline.convert``.
"""
