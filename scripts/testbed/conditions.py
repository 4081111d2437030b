"""The fault of each condition that record.py can record; normal traffic has none."""

import faults
import gtp_faults
import radius_faults
import sip_faults

CONDITIONS = {
    "normal": None,
    **{
        fault.__name__: fault
        for fault in (
            faults.blocked,
            faults.capacity_limit,
            faults.packet_loss,
            faults.downlink_loss,
            faults.delay,
            faults.link_flap,
            faults.auth_failure,
            faults.session_storm,
            faults.server_down,
            faults.server_stall,
            sip_faults.server_overload,
            sip_faults.busy_reject,
            sip_faults.routing_failure,
            sip_faults.slow_registrar,
            sip_faults.callee_down,
            sip_faults.registration_storm,
            sip_faults.invite_flood,
            radius_faults.slow_server,
            radius_faults.accounting_down,
            radius_faults.wrong_secret,
            gtp_faults.apn_down,
            gtp_faults.unknown_apn,
            gtp_faults.stale_contexts,
            gtp_faults.update_storm,
        )
    },
}
