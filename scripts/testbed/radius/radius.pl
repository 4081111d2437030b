# The users of the RADIUS server, and its faults, which radius_bed.py switches.
#
# The file `settings` holds three numbers: the percentage of users whose password is
# another one, the seconds that each login keeps a worker busy, and whether accounting
# is lost. A user whose name begins with "sub" is known, with one password for all.
use strict;
use warnings;
our (%RAD_REQUEST, %RAD_CHECK);
use constant { FAIL => 1, OK => 2, UPDATED => 8 };

sub settings {
    open(my $file, '<', '{{run_dir}}/settings') or return (0, 0, 0);
    return split ' ', <$file>;
}

sub authorize {
    my ($refused_percent, $seconds) = settings();
    select(undef, undef, undef, $seconds) if $seconds > 0;
    return OK if $RAD_REQUEST{'User-Name'} !~ /^sub(\d+)/;
    my $refused = $1 % 100 < $refused_percent;
    $RAD_CHECK{'Cleartext-Password'} = $refused ? 'another' : '{{password}}';
    return UPDATED;
}

sub accounting {
    my (undef, undef, $lost) = settings();
    return $lost ? FAIL : OK;
}
