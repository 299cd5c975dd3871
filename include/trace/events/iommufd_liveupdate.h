/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommufd_liveupdate

#if !defined(_TRACE_IOMMUFD_LIVEUPDATE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMUFD_LIVEUPDATE_H

#include <linux/tracepoint.h>

/* A mapping keeps an HWPT from being preserved */
TRACE_EVENT(iommufd_liveupdate_refused,
	    TP_PROTO(u32 hwpt_id, u64 iova, u64 last_iova, const char *rule),
	    TP_ARGS(hwpt_id, iova, last_iova, rule),
	    TP_STRUCT__entry(__field(u32, hwpt_id)
			     __field(u64, iova)
			     __field(u64, last_iova)
			     __string(rule, rule)),
	    TP_fast_assign(__entry->hwpt_id = hwpt_id;
			   __entry->iova = iova;
			   __entry->last_iova = last_iova;
			   __assign_str(rule);),
	    TP_printk("hwpt %u: %#llx to %#llx: %s", __entry->hwpt_id, __entry->iova,
		      __entry->last_iova, __get_str(rule))
);

#endif /* _TRACE_IOMMUFD_LIVEUPDATE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
